# pip install openai
from openai import OpenAI

client = OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="YOUR_API_KEY")
first = client.responses.create(
    model="open-autoglm-7b", input="What is machine learning?", max_output_tokens=100
)
print(first.output_text)
second = client.responses.create(
    model="open-autoglm-7b",
    input="Say it in one sentence.",
    previous_response_id=first.id,  # the server remembers the conversation
    max_output_tokens=100,
)
print(second.output_text)

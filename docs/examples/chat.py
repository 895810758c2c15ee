# pip install openai
from openai import OpenAI

client = OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="YOUR_API_KEY")
answer = client.chat.completions.create(
    model="open-autoglm-7b",
    messages=[{"role": "user", "content": "What is machine learning?"}],
    max_completion_tokens=100,
)
print(answer.choices[0].message.content)

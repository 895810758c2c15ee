# pip install openai
from openai import OpenAI

client = OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="YOUR_API_KEY")
stream = client.chat.completions.create(
    model="open-autoglm-7b",
    messages=[{"role": "user", "content": "What is machine learning?"}],
    max_completion_tokens=100,
    stream=True,
)
for chunk in stream:
    print(chunk.choices[0].delta.content or "", end="", flush=True)

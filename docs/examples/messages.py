# pip install anthropic
from anthropic import Anthropic

client = Anthropic(base_url="http://127.0.0.1:8000", api_key="YOUR_API_KEY")
with client.messages.stream(
    model="open-autoglm-7b",
    messages=[{"role": "user", "content": "What is machine learning?"}],
    max_tokens=100,
) as stream:
    for text in stream.text_stream:
        print(text, end="", flush=True)

# pip install openai
import json
import time

from openai import OpenAI

client = OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="YOUR_API_KEY")
with open("requests.jsonl", "w") as file:
    for name, question in {"first": "What is machine learning?", "second": "1 + 1 = ?"}.items():
        messages = [{"role": "user", "content": question}]
        body = {"model": "open-autoglm-7b", "messages": messages, "max_completion_tokens": 100}
        line = {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}
        file.write(json.dumps(line) + "\n")

upload = client.files.create(file=open("requests.jsonl", "rb"), purpose="batch")
batch = client.batches.create(
    input_file_id=upload.id, endpoint="/v1/chat/completions", completion_window="24h"
)
while batch.status in ("validating", "in_progress", "finalizing"):
    time.sleep(1)
    batch = client.batches.retrieve(batch.id)
print(client.files.content(batch.output_file_id).text)

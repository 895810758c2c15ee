# pip install openai
from openai import OpenAI

client = OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="YOUR_API_KEY")
texts = ["A dog barks.", "Ein Hund bellt.", "Interest rates rose."]
answer = client.embeddings.create(model="open-autoglm-7b", input=texts)
first, *others = (item.embedding for item in answer.data)
for text, vector in zip(texts[1:], others):
    print(text, sum(a * b for a, b in zip(first, vector)))  # 1: means the same

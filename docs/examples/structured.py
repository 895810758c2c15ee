# pip install openai
from openai import OpenAI
from pydantic import BaseModel, Field


class City(BaseModel):
    name: str = Field(max_length=30)
    country: str = Field(max_length=30)
    coastal: bool


client = OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="YOUR_API_KEY")
answer = client.chat.completions.parse(
    model="open-autoglm-7b",
    messages=[{"role": "user", "content": "Describe a city."}],
    response_format=City,
)
print(answer.choices[0].message.parsed)

curl http://127.0.0.1:8000/v1/responses \
  -H "Authorization: Bearer YOUR_API_KEY" \
  -H "Content-Type: application/json" \
  -d '{
    "model": "open-autoglm-7b",
    "input": "What is machine learning?",
    "max_output_tokens": 100
  }'

curl http://127.0.0.1:8000/v1/chat/completions \
  -H "Authorization: Bearer YOUR_API_KEY" \
  -H "Content-Type: application/json" \
  -d '{
    "model": "open-autoglm-7b",
    "messages": [{"role": "user", "content": "What is machine learning?"}],
    "max_completion_tokens": 100
  }'

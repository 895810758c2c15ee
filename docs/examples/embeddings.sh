curl http://127.0.0.1:8000/v1/embeddings \
  -H "Authorization: Bearer YOUR_API_KEY" \
  -H "Content-Type: application/json" \
  -d '{
    "model": "open-autoglm-7b",
    "input": ["A dog barks.", "Ein Hund bellt.", "Interest rates rose."]
  }'

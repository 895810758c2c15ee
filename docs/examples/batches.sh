URL=http://127.0.0.1:8000/v1
KEY="Authorization: Bearer YOUR_API_KEY"
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

cat > requests.jsonl <<'END'
{"custom_id": "first", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "open-autoglm-7b", "messages": [{"role": "user", "content": "What is machine learning?"}], "max_completion_tokens": 100}}
{"custom_id": "second", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "open-autoglm-7b", "messages": [{"role": "user", "content": "1 + 1 = ?"}], "max_completion_tokens": 100}}
END
FILE=$(curl -sf $URL/files -H "$KEY" -F purpose=batch -F file=@requests.jsonl | field id)
BATCH=$(curl -sf $URL/batches -H "$KEY" -H "Content-Type: application/json" \
  -d '{"input_file_id": "'$FILE'", "endpoint": "/v1/chat/completions", "completion_window": "24h"}' | field id)

while ! curl -sf $URL/batches/$BATCH -H "$KEY" | grep -qE '"status": "(completed|failed|expired|cancelled)"'; do
  sleep 1
done
OUTPUT=$(curl -sf $URL/batches/$BATCH -H "$KEY" | field output_file_id)
curl -sf $URL/files/$OUTPUT/content -H "$KEY"

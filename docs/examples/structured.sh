curl http://127.0.0.1:8000/v1/chat/completions \
  -H "Authorization: Bearer YOUR_API_KEY" \
  -H "Content-Type: application/json" \
  -d '{
    "model": "open-autoglm-7b",
    "messages": [{"role": "user", "content": "Describe a city."}],
    "response_format": {
      "type": "json_schema",
      "json_schema": {
        "name": "city",
        "schema": {
          "type": "object",
          "properties": {
            "name": {"type": "string", "maxLength": 30},
            "country": {"type": "string", "maxLength": 30},
            "coastal": {"type": "boolean"}
          },
          "required": ["name", "country", "coastal"],
          "additionalProperties": false
        }
      }
    }
  }'

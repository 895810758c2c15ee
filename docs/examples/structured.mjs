// Node 18 or newer
const city = {
  type: "object",
  properties: {
    name: { type: "string", maxLength: 30 },
    country: { type: "string", maxLength: 30 },
    coastal: { type: "boolean" },
  },
  required: ["name", "country", "coastal"],
  additionalProperties: false,
};
const response = await fetch("http://127.0.0.1:8000/v1/chat/completions", {
  method: "POST",
  headers: { Authorization: "Bearer YOUR_API_KEY", "Content-Type": "application/json" },
  body: JSON.stringify({
    model: "open-autoglm-7b",
    messages: [{ role: "user", content: "Describe a city." }],
    response_format: { type: "json_schema", json_schema: { name: "city", schema: city } },
  }),
});
const answer = await response.json();
console.log(JSON.parse(answer.choices[0].message.content));

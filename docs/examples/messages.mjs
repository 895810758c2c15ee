// Node 18 or newer
const response = await fetch("http://127.0.0.1:8000/v1/messages", {
  method: "POST",
  headers: { "x-api-key": "YOUR_API_KEY", "Content-Type": "application/json" },
  body: JSON.stringify({
    model: "open-autoglm-7b",
    messages: [{ role: "user", content: "What is machine learning?" }],
    max_tokens: 100,
  }),
});
const message = await response.json();
console.log(message.content[0].text);

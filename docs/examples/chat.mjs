// Node 18 or newer
const response = await fetch("http://127.0.0.1:8000/v1/chat/completions", {
  method: "POST",
  headers: { Authorization: "Bearer YOUR_API_KEY", "Content-Type": "application/json" },
  body: JSON.stringify({
    model: "open-autoglm-7b",
    messages: [{ role: "user", content: "What is machine learning?" }],
    max_completion_tokens: 100,
  }),
});
const answer = await response.json();
console.log(answer.choices[0].message.content);

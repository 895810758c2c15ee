// Node 18 or newer
const response = await fetch("http://127.0.0.1:8000/v1/chat/completions", {
  method: "POST",
  headers: { Authorization: "Bearer YOUR_API_KEY", "Content-Type": "application/json" },
  body: JSON.stringify({
    model: "open-autoglm-7b",
    messages: [{ role: "user", content: "What is machine learning?" }],
    max_completion_tokens: 100,
    stream: true,
  }),
});
let rest = "";
for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
  const events = (rest + text).split("\n\n");
  rest = events.pop();
  for (const event of events) {
    if (!event.startsWith("data: {")) continue;
    const chunk = JSON.parse(event.slice("data: ".length));
    process.stdout.write(chunk.choices[0].delta.content ?? "");
  }
}

// Node 18 or newer
async function ask(body) {
  const response = await fetch("http://127.0.0.1:8000/v1/responses", {
    method: "POST",
    headers: { Authorization: "Bearer YOUR_API_KEY", "Content-Type": "application/json" },
    body: JSON.stringify({ model: "open-autoglm-7b", max_output_tokens: 100, ...body }),
  });
  const answer = await response.json();
  console.log(answer.output[0].content[0].text);
  return answer;
}

const first = await ask({ input: "What is machine learning?" });
// The server remembers the conversation.
await ask({ input: "Say it in one sentence.", previous_response_id: first.id });

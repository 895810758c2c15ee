// Node 18 or newer
const url = "http://127.0.0.1:8000/v1";
const headers = { Authorization: "Bearer YOUR_API_KEY" };
const ask = async (path, options) => (await fetch(url + path, { headers, ...options })).json();

const questions = { first: "What is machine learning?", second: "1 + 1 = ?" };
const lines = Object.entries(questions).map(([name, question]) => {
  const messages = [{ role: "user", content: question }];
  const body = { model: "open-autoglm-7b", messages, max_completion_tokens: 100 };
  return JSON.stringify({ custom_id: name, method: "POST", url: "/v1/chat/completions", body });
});
const form = new FormData();
form.append("purpose", "batch");
form.append("file", new Blob([lines.join("\n")]), "requests.jsonl");
const file = await ask("/files", { method: "POST", body: form });

let batch = await ask("/batches", {
  method: "POST",
  headers: { ...headers, "Content-Type": "application/json" },
  body: JSON.stringify({ input_file_id: file.id, endpoint: "/v1/chat/completions", completion_window: "24h" }),
});
while (["validating", "in_progress", "finalizing"].includes(batch.status)) {
  await new Promise((resolve) => setTimeout(resolve, 1000));
  batch = await ask(`/batches/${batch.id}`);
}
console.log(await (await fetch(`${url}/files/${batch.output_file_id}/content`, { headers })).text());

// Node 18 or newer
const texts = ["A dog barks.", "Ein Hund bellt.", "Interest rates rose."];
const response = await fetch("http://127.0.0.1:8000/v1/embeddings", {
  method: "POST",
  headers: { Authorization: "Bearer YOUR_API_KEY", "Content-Type": "application/json" },
  body: JSON.stringify({ model: "open-autoglm-7b", input: texts }),
});
const { data } = await response.json();
const [first, ...others] = data.map((item) => item.embedding);
for (const [i, vector] of others.entries()) {
  const alike = vector.reduce((sum, value, place) => sum + value * first[place], 0);
  console.log(texts[i + 1], alike); // 1: means the same
}

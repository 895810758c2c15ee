// The request on the page as a program. Pure functions: a chat request body in, source text out.

/** A JSON value as a Python literal. Strings are the same in both languages. */
function python(value, indent = "") {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = `${indent}    `;
  if (Array.isArray(value)) {
    return `[\n${value.map((item) => `${inner}${pythonLine(item, inner)},\n`).join("")}${indent}]`;
  }
  const pairs = Object.entries(value).map(([key, item]) => `${inner}${JSON.stringify(key)}: ${python(item, inner)},\n`);
  return `{\n${pairs.join("")}${indent}}`;
}

/** A small object such as one message reads best on one line. */
function pythonLine(value, indent) {
  if (typeof value !== "object" || value === null) return python(value, indent);
  return `{${Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${python(item, indent)}`).join(", ")}}`;
}

const shellQuote = (value) => `'${value.replaceAll("'", String.raw`'\''`)}'`;

function curl({ base, key, request }) {
  return `curl ${base}/chat/completions \\
  -H "Authorization: Bearer ${key}" \\
  -H "Content-Type: application/json" \\
  -d ${shellQuote(JSON.stringify(request, null, 2))}
`;
}

function openai({ base, key, request }) {
  const fields = Object.entries(request).map(([name, value]) => `    ${name}=${python(value, "    ")},\n`);
  return `# pip install openai
from openai import OpenAI

client = OpenAI(base_url=${JSON.stringify(base)}, api_key=${JSON.stringify(key)})

completion = client.chat.completions.create(
${fields.join("")})
print(completion.choices[0].message.content)
`;
}

function requests({ base, key, request }) {
  return `# pip install requests
import requests

url = ${JSON.stringify(`${base}/chat/completions`)}
headers = {"Authorization": ${JSON.stringify(`Bearer ${key}`)}}
data = ${python(request)}
response = requests.post(url, json=data, headers=headers)
response.raise_for_status()
print(response.json()["choices"][0]["message"]["content"])
`;
}

function javascript({ base, key, request }) {
  return `const response = await fetch(${JSON.stringify(`${base}/chat/completions`)}, {
  method: "POST",
  headers: {
    Authorization: ${JSON.stringify(`Bearer ${key}`)},
    "Content-Type": "application/json",
  },
  body: JSON.stringify(${JSON.stringify(request, null, 2).replaceAll("\n", "\n  ")}),
});
if (!response.ok) throw new Error(await response.text());
const completion = await response.json();
console.log(completion.choices[0].message.content);
`;
}

/** By the tab's name: how to write it and how to colour it. */
export const SNIPPETS = {
  curl: { write: curl, language: "bash" },
  openai: { write: openai, language: "python" },
  python: { write: requests, language: "python" },
  javascript: { write: javascript, language: "javascript" },
};

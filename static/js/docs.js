// Swagger UI over this server's schema. SwaggerUIBundle comes from the script before this module.

// /api/v1 knows somebody who has signed in; what changes anything needs this token beside the cookie.
function withCsrfToken(request) {
  const [, token] = document.cookie.match(/(?:^|; )csrftoken=([^;]*)/) ?? [];
  if (token && new URL(request.url, location.href).origin === location.origin) request.headers["X-CSRFToken"] = token;
  return request;
}

const place = document.querySelector("#swagger-ui");
const translated = JSON.parse(document.getElementById("translated").textContent);

function forPeople(key, value) {
  if (["summary", "description", "title"].includes(key)) return translated[value] ?? value;
  if (key === "security") return value.filter((way) => !way.Browser); // the browser sends its cookie by itself
  return value;
}

// The schema is English, for programs. Tags keep their names, which are in the addresses of operations.
function translate(response) {
  if (!response.ok || !response.url.endsWith(place.dataset.schema)) return response;
  const schema = JSON.parse(response.text, forPeople);
  delete schema.components.securitySchemes.Browser;
  for (const tag of schema.tags) if (translated[tag.name]) tag.description = translated[tag.name];
  return { ...response, text: JSON.stringify(schema) };
}

window.SwaggerUIBundle({
  domNode: place,
  url: place.dataset.schema,
  deepLinking: true,
  defaultModelExpandDepth: 3, // the fields of a body, and what they take
  defaultModelsExpandDepth: -1,
  persistAuthorization: false,
  validatorUrl: null,
  requestInterceptor: withCsrfToken,
  responseInterceptor: translate,
});

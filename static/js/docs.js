// Swagger UI over this server's schema. SwaggerUIBundle comes from the script before this module.

// /api/v1 knows somebody who has signed in; what changes anything needs this token beside the cookie.
function withCsrfToken(request) {
  const [, token] = document.cookie.match(/(?:^|; )csrftoken=([^;]*)/) ?? [];
  if (token && new URL(request.url, location.href).origin === location.origin) request.headers["X-CSRFToken"] = token;
  return request;
}

const place = document.querySelector("#swagger-ui");
const translated = JSON.parse(document.getElementById("translated").textContent);

// The schema is English, for programs. Tags keep their names, which are in the addresses of operations.
function translate(response) {
  if (!response.ok || !response.url.endsWith(place.dataset.schema)) return response;
  const schema = JSON.parse(response.text, (key, value) => (["summary", "description"].includes(key) && translated[value]) || value);
  for (const tag of schema.tags) if (translated[tag.name] !== tag.name) tag.description = translated[tag.name];
  return { ...response, text: JSON.stringify(schema) };
}

window.SwaggerUIBundle({
  domNode: place,
  url: place.dataset.schema,
  deepLinking: true,
  defaultModelsExpandDepth: -1,
  persistAuthorization: false,
  validatorUrl: null,
  requestInterceptor: withCsrfToken,
  responseInterceptor: translate,
});

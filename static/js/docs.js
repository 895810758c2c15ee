// Swagger UI over this server's schema. SwaggerUIBundle comes from the script before this module.

// /api/v1 knows somebody who has signed in; what changes anything needs this token beside the cookie.
function withCsrfToken(request) {
  const [, token] = document.cookie.match(/(?:^|; )csrftoken=([^;]*)/) ?? [];
  if (token && new URL(request.url, location.href).origin === location.origin) request.headers["X-CSRFToken"] = token;
  return request;
}

const place = document.querySelector("#swagger-ui");

window.SwaggerUIBundle({
  domNode: place,
  url: place.dataset.schema,
  deepLinking: true,
  defaultModelsExpandDepth: -1,
  persistAuthorization: false,
  validatorUrl: null,
  requestInterceptor: withCsrfToken,
});

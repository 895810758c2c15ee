// Swagger UI over this server's schema. SwaggerUIBundle comes from the script before this module.

const place = document.querySelector("#swagger-ui");

window.SwaggerUIBundle({
  domNode: place,
  url: place.dataset.schema,
  deepLinking: true,
  defaultModelsExpandDepth: -1,
  persistAuthorization: false,
  validatorUrl: null,
});

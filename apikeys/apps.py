from django.apps import AppConfig


class ApiKeysConfig(AppConfig):
    name = "apikeys"
    verbose_name = "API keys"

    def ready(self) -> None:
        from apikeys import blocking, known_keys, projects
        from apikeys import openapi as openapi  # registers itself with the schema generator
        from apikeys.jwt import known as known_tokens

        blocking.connect_signals()
        known_keys.connect_signals()
        known_tokens.connect_signals()
        projects.connect_signals()

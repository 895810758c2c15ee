from django.urls import path

from playground.consumer import PlaygroundConsumer

SOCKET_PATH = "ws/playground/"

websocket_urlpatterns = [path(SOCKET_PATH, PlaygroundConsumer.as_asgi())]  # type: ignore[arg-type]

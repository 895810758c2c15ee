from django.urls import path

from playground.consumer import PlaygroundConsumer
from playground.frames import SOCKET_PATH

websocket_urlpatterns = [path(SOCKET_PATH.removeprefix("/"), PlaygroundConsumer.as_asgi())]  # type: ignore[arg-type]

from django.urls import path

from serving.anthropic.views import CountTokensView, MessagesView
from serving.batches.views import (
    BatchesView,
    BatchView,
    CancelBatchView,
    FileContentView,
    FilesView,
    FileView,
)
from serving.chat.views import ChatCompletionsView
from serving.docs import DocsPage
from serving.embeddings import EmbeddingsView
from serving.responses.views import ResponsesView, ResponseView
from serving.tokens import DetokenizeView, TokenizeView
from serving.views import (
    AliveView,
    CompletionsView,
    JwksView,
    MetricsView,
    ModelsView,
    ModelView,
    ReadyView,
    SchemaView,
)

app_name = "serving"
api_urlpatterns = [
    path("v1/completions", CompletionsView.as_view(), name="completions"),
    path("v1/chat/completions", ChatCompletionsView.as_view(), name="chat-completions"),
    path("v1/messages", MessagesView.as_view(), name="messages"),
    path("v1/messages/count_tokens", CountTokensView.as_view(), name="count-tokens"),
    path("v1/responses", ResponsesView.as_view(), name="responses"),
    path("v1/responses/<str:response_id>", ResponseView.as_view(), name="response"),
    path("v1/embeddings", EmbeddingsView.as_view(), name="embeddings"),
    path("v1/files", FilesView.as_view(), name="files"),
    path("v1/files/<str:file_id>", FileView.as_view(), name="file"),
    path("v1/files/<str:file_id>/content", FileContentView.as_view(), name="file-content"),
    path("v1/batches", BatchesView.as_view(), name="batches"),
    path("v1/batches/<str:batch_id>", BatchView.as_view(), name="batch"),
    path("v1/batches/<str:batch_id>/cancel", CancelBatchView.as_view(), name="cancel-batch"),
    path("v1/tokenize", TokenizeView.as_view(), name="tokenize"),
    path("v1/detokenize", DetokenizeView.as_view(), name="detokenize"),
    path("v1/models", ModelsView.as_view(), name="models"),
    path("v1/models/<path:name>", ModelView.as_view(), name="model"),
]
urlpatterns = [
    *api_urlpatterns,
    path("v1/openapi.json", SchemaView.as_view(), name="schema"),
    path(".well-known/jwks.json", JwksView.as_view(), name="jwks"),
    path("healthz", AliveView.as_view(), name="alive"),
    path("readyz", ReadyView.as_view(), name="ready"),
    path("metrics", MetricsView.as_view(), name="metrics"),
    path("docs/", DocsPage.as_view(), name="docs"),
]

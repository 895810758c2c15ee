"""From a request's text to token ids that fit the model. Not for the event loop: tokenizing takes time."""

from __future__ import annotations

from dataclasses import dataclass

from serving.backends import Backend
from serving.engine.core import InvalidRequest
from serving.errors import BadRequest, ContextTooLong
from serving.schemas import ChatRequest, CompletionRequest, Prompt

DEFAULT_MAX_TOKENS = 16  # OpenAI's, for /v1/completions


@dataclass(frozen=True, slots=True)
class TokenizedPrompt:
    """``echo`` is what to put before the text; ``max_tokens`` fits the context."""

    token_ids: tuple[int, ...]
    max_tokens: int
    echo: str = ""


def tokenize(backend: Backend, request: CompletionRequest | ChatRequest) -> list[TokenizedPrompt]:
    """Raises ContextTooLong, or BadRequest when the chat template does not take the messages."""
    if isinstance(request, ChatRequest):
        ids = _apply_template(backend, request)
        wanted = request.sampling.max_tokens
        return [TokenizedPrompt(ids, _fit(len(ids), wanted, backend.context_length, "messages"))]
    return [_tokenize_text(backend, prompt, request) for prompt in request.prompts]


def prompt_param(request: CompletionRequest | ChatRequest) -> str:
    """The name of the field that holds the prompt."""
    return "messages" if isinstance(request, ChatRequest) else "prompt"


def _tokenize_text(backend: Backend, prompt: Prompt, request: CompletionRequest) -> TokenizedPrompt:
    if isinstance(prompt, str):
        _check_length(backend, len(prompt), "prompt")
        ids = tuple(backend.tokenizer.encode(prompt))
    else:
        ids = prompt
    wanted = request.sampling.max_tokens
    if wanted is None:
        wanted = max(1, min(DEFAULT_MAX_TOKENS, backend.context_length - len(ids)))
    limit = _fit(len(ids), wanted, backend.context_length, "prompt")
    return TokenizedPrompt(ids, limit, _text(backend, prompt) if request.echo else "")


def _apply_template(backend: Backend, request: ChatRequest) -> tuple[int, ...]:
    _check_length(backend, sum(len(message.content) for message in request.messages), "messages")
    messages = [{"role": message.role, "content": message.content} for message in request.messages]
    try:
        return tuple(backend.tokenizer.apply_chat_template(messages))
    except InvalidRequest as error:
        raise BadRequest(str(error), param="messages") from error


def _check_length(backend: Backend, characters: int, param: str) -> None:
    """Tokenizing megabytes takes a processor for seconds; what can never fit is refused before."""
    least = backend.tokenizer.least_tokens(characters)
    if least > backend.context_length:
        raise ContextTooLong(
            f"This model's maximum context length is {backend.context_length} tokens. However, your {param} "
            f"has {characters} characters, which are {least} tokens or more. Please reduce its length.",
            param=param,
        )


def _fit(prompt: int, wanted: int | None, context: int, param: str) -> int:
    """``wanted`` completion tokens, or for None all that fit. Raises ContextTooLong."""
    room = context - prompt
    if room < 1:
        raise ContextTooLong(
            f"This model's maximum context length is {context} tokens. However, your {param} has {prompt} "
            "tokens, which leaves no room for a completion. Please reduce its length.",
            param=param,
        )
    if wanted is not None and wanted > room:
        raise ContextTooLong(
            f"This model's maximum context length is {context} tokens. However, you requested "
            f"{prompt + wanted} tokens ({prompt} in the {param}, {wanted} in the completion). "
            f"Please reduce the length of the {param} or the completion.",
            param="max_tokens",
        )
    return room if wanted is None else wanted


def _text(backend: Backend, prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else backend.tokenizer.decode(prompt)

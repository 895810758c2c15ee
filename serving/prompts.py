"""From a request's text to token ids that fit the model. Tokenizing a long text takes time: it is for the
event loop only when it ``takes_no_time``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from serving.backends import Backend
from serving.chat.schemas import ChatRequest
from serving.engine.errors import InvalidRequest
from serving.engine.sampling.params import Grammar
from serving.errors import BadRequest, ContextTooLong
from serving.forms import Form
from serving.messages import Message, Tail
from serving.sampling import Sampling
from serving.schemas import CompletionRequest, Prompt

DEFAULT_MAX_TOKENS = 16  # OpenAI's, for /v1/completions
SHORT, FEW = 1000, 10  # characters and texts that are tokenized within a millisecond


@dataclass(frozen=True, slots=True)
class TokenizedPrompt:
    """``echo`` is what to put before the text; ``max_tokens`` fits the context; ``grammar`` is the form of
    the answer."""

    token_ids: tuple[int, ...]
    max_tokens: int
    echo: str = ""
    grammar: Grammar | None = None


def takes_no_time(backend: Backend, request: CompletionRequest | ChatRequest) -> bool:
    """Whether ``tokenize`` is done sooner than a thread would have begun, so that the loop may do it."""
    texts = [m.content for m in request.messages] if isinstance(request, ChatRequest) else request.prompts
    return sum(map(len, texts)) <= SHORT and len(texts) <= FEW and not backend.tokenizer.is_busy


def tokenize(backend: Backend, request: CompletionRequest | ChatRequest) -> list[TokenizedPrompt]:
    """Raises ContextTooLong, or BadRequest when the chat template does not take the messages or the form of
    the answer cannot be had."""
    grammar = _compile(backend, request.sampling.form)
    if isinstance(request, ChatRequest):
        ids = encode_chat(backend, request.messages, request.tail)
        limit = _fit(len(ids), request.sampling, backend.context_length, "messages")
        return [TokenizedPrompt(ids, limit, grammar=grammar)]
    return [_tokenize_text(backend, prompt, request, grammar) for prompt in request.prompts]


def _compile(backend: Backend, form: Form | None) -> Grammar | None:
    if form is None:
        return None
    try:
        return backend.grammars.compile(form.kind, form.source)
    except InvalidRequest as error:
        raise BadRequest(str(error), param=form.param) from error


def prompt_param(request: CompletionRequest | ChatRequest) -> str:
    """The name of the field that holds the prompt."""
    return "messages" if isinstance(request, ChatRequest) else "prompt"


def _tokenize_text(
    backend: Backend, prompt: Prompt, request: CompletionRequest, grammar: Grammar | None
) -> TokenizedPrompt:
    ids = encode_text(backend, prompt) if isinstance(prompt, str) else prompt
    sampling = request.sampling
    if sampling.max_tokens is None:
        default = max(1, sampling.min_tokens, min(DEFAULT_MAX_TOKENS, backend.context_length - len(ids)))
        sampling = replace(sampling, max_tokens=default)
    limit = _fit(len(ids), sampling, backend.context_length, "prompt")
    return TokenizedPrompt(ids, limit, _text(backend, prompt) if request.echo else "", grammar)


def encode_text(
    backend: Backend, text: str, *, special: bool = True, param: str = "prompt"
) -> tuple[int, ...]:
    """Raises ContextTooLong for what can never fit; ``param`` names the field of the text."""
    _check_length(backend, len(text), param)
    return tuple(backend.tokenizer.encode(text, special=special))


def encode_chat(backend: Backend, messages: Iterable[Message], tail: Tail) -> tuple[int, ...]:
    """Raises ContextTooLong for what can never fit, BadRequest for what the template refuses."""
    chat = [{"role": message.role, "content": message.content} for message in messages]
    _check_length(backend, sum(len(message["content"]) for message in chat), "messages")
    try:
        return tuple(
            backend.tokenizer.apply_chat_template(chat, answer=tail == "answer", go_on=tail == "continue")
        )
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


def _fit(prompt: int, sampling: Sampling, context: int, param: str) -> int:
    """As many completion tokens as wanted, or all that fit. Raises ContextTooLong."""
    wanted = sampling.max_tokens
    room = context - prompt
    if room < 1:
        raise ContextTooLong(
            f"This model's maximum context length is {context} tokens. However, your {param} has {prompt} "
            "tokens, which leaves no room for a completion. Please reduce its length.",
            param=param,
        )
    least = sampling.min_tokens if wanted is None else wanted
    if least > room:
        raise ContextTooLong(
            f"This model's maximum context length is {context} tokens. However, you requested "
            f"{prompt + least} tokens ({prompt} in the {param}, {least} in the completion). "
            f"Please reduce the length of the {param} or the completion.",
            param="max_tokens",
        )
    return room if wanted is None else wanted


def _text(backend: Backend, prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else backend.tokenizer.decode(prompt)

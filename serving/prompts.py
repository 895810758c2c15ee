"""From a request's text to token ids that fit the model. Tokenizing a long text takes time: it is for the
event loop only when it ``takes_no_time``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from serving.backends import Backend
from serving.chat.schemas import ChatRequest
from serving.engine.errors import InvalidRequest
from serving.engine.sampling.params import Grammar
from serving.errors import BadRequest, ContextTooLong
from serving.forms import Form
from serving.messages import Message, Tail
from serving.sampling import Sampling
from serving.schemas import CompletionRequest, Prompt
from serving.tools.dialects import Dialect, dialect_of
from serving.tools.grammar import calls_form
from serving.tools.prompt import Chat, in_template, in_words, names_of_calls, template_tool
from serving.tools.schemas import ToolUse

DEFAULT_MAX_TOKENS = 16  # OpenAI's, for /v1/completions
SHORT, FEW = 1000, 10  # characters and texts that are tokenized within a millisecond


@dataclass(frozen=True, slots=True)
class TokenizedPrompt:
    """``echo`` is what to put before the text; ``max_tokens`` fits the context; ``grammar`` is the form of
    the answer, ``dialect`` how it calls tools."""

    token_ids: tuple[int, ...]
    max_tokens: int
    echo: str = ""
    grammar: Grammar | None = None
    dialect: Dialect | None = None


def takes_no_time(backend: Backend, request: CompletionRequest | ChatRequest) -> bool:
    """Whether ``tokenize`` is done sooner than a thread would have begun, so that the loop may do it."""
    if isinstance(request, ChatRequest):
        if request.tools is not None:
            return False
        lengths = [message.characters for message in request.messages]
    else:
        lengths = [len(prompt) for prompt in request.prompts]
    return sum(lengths) <= SHORT and len(lengths) <= FEW and not backend.tokenizer.is_busy


def tokenize(backend: Backend, request: CompletionRequest | ChatRequest) -> list[TokenizedPrompt]:
    """Raises ContextTooLong, or BadRequest when the chat template does not take the messages or the form of
    the answer cannot be had."""
    if isinstance(request, ChatRequest):
        return [_tokenize_chat(backend, request)]
    grammar = _compile(backend, request.sampling.form)
    return [_tokenize_text(backend, prompt, request, grammar) for prompt in request.prompts]


def _tokenize_chat(backend: Backend, request: ChatRequest) -> TokenizedPrompt:
    form, dialect = request.sampling.form, None
    if request.tools is not None:
        dialect = dialect_of(backend.tokenizer)
        form = calls_form(request.tools, dialect, form)
    ids = encode_chat(backend, request.messages, request.tail, request.tools)
    limit = _fit(len(ids), request.sampling, backend.context_length, "messages")
    return TokenizedPrompt(ids, limit, grammar=_compile(backend, form), dialect=dialect)


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


def encode_chat(
    backend: Backend, messages: Sequence[Message], tail: Tail, use: ToolUse | None = None
) -> tuple[int, ...]:
    """Raises ContextTooLong for what can never fit, BadRequest for what the template refuses."""
    tools = [] if use is None else [template_tool(tool) for tool in use.tools]
    told = sum(len(json.dumps(tool, ensure_ascii=False)) for tool in tools)
    _check_length(backend, sum(message.characters for message in messages) + told, "messages")
    chat, tools = _as_chat(backend, messages, tools)
    try:
        return tuple(
            backend.tokenizer.apply_chat_template(
                chat, tools, answer=tail == "answer", go_on=tail == "continue"
            )
        )
    except InvalidRequest as error:
        raise BadRequest(str(error), param="messages") from error


def _as_chat(
    backend: Backend, messages: Sequence[Message], tools: list[dict[str, Any]]
) -> tuple[Chat, list[dict[str, Any]]]:
    """The messages, and the tools that the template is to tell of. Raises BadRequest."""
    if not tools and not any(message.calls or message.role == "tool" for message in messages):
        return [{"role": message.role, "content": message.content} for message in messages], []
    names, dialect = names_of_calls(messages), dialect_of(backend.tokenizer)
    if dialect.in_template:
        return in_template(messages, names, dialect.format), tools
    return in_words(messages, tools), []


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

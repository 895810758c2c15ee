"""Which answers a model may give, token by token, in every format, with and without tokens for it."""

from __future__ import annotations

from typing import Any

import pytest

from serving.engine.errors import InvalidRequest
from serving.engine.sampling.structured import GrammarCompiler
from serving.engine.tokenizer import Tokenizer
from serving.forms import Form
from serving.tools.dialects import Dialect, dialect_of
from serving.tools.formats import LLAMA, ToolFormat
from serving.tools.grammar import MAX_CALLS, calls_form
from serving.tools.schemas import Tool, ToolUse
from tests.serving.tools import templates
from tests.serving.tools.conftest import MakeTokenizer
from tests.serving.tools.test_parser import written

EOS = 2
CITY: Any = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = Tool("get_weather", "Tells the weather.", CITY, strict=True)
NOW = Tool("now", None, {"type": "object", "properties": {}})
AUTO = ToolUse((WEATHER, NOW), (WEATHER, NOW))
REQUIRED = ToolUse((WEATHER, NOW), (WEATHER, NOW), required=True)
ONE = ToolUse((WEATHER, NOW), (WEATHER,), required=True, parallel=False)
PARIS = ("get_weather", '{"city": "Paris 🌸"}')
MODELS = [  # whether the marks are tokens of their own
    (templates.QWEN, False),
    (templates.QWEN, True),
    (templates.MISTRAL, True),
    (templates.MISTRAL_ARGS, True),
    (templates.LLAMA, False),
    (templates.LLAMA, True),
]


class Model:
    """What it may write."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._grammars = GrammarCompiler(tokenizer, len(tokenizer), [EOS])
        self.dialect: Dialect = dialect_of(Tokenizer(tokenizer))
        self.format: ToolFormat = self.dialect.format

    def calls(self, *calls: tuple[str, str], text: str = "") -> str:
        """As it writes them: a mark that it has no token for may be left out."""
        made = written(self.format, list(calls), text)
        return made if self.dialect.tokens else made.replace(LLAMA.marker, "")

    def may_write(self, use: ToolUse, text: str, form: Form | None = None) -> bool:
        made = calls_form(use, self.dialect, form)
        state = self._grammars.compile(made.kind, made.source).start()
        for token in [*self._tokenizer(text, add_special_tokens=False)["input_ids"], EOS]:
            if not state.allowed()[token // 32] >> (token % 32) & 1:
                return False
            state.accept(token)
            assert state.error is None
        return True


@pytest.fixture(scope="module", params=MODELS)
def model(make_tokenizer: MakeTokenizer, request: pytest.FixtureRequest) -> Model:
    template, own_tokens = request.param
    plain = make_tokenizer(template)
    if not own_tokens:
        return Model(plain)
    form = dialect_of(Tokenizer(plain)).format
    return Model(make_tokenizer(template, tuple(form.tokens)))


def test_what_may_be_written(model: Model) -> None:
    call, two = model.calls(PARIS), model.calls(PARIS, ("now", "{}"))
    assert [model.may_write(AUTO, text) for text in ("", "Hi <tool 🌸 {", call, two)] == [True] * 4
    assert [model.may_write(REQUIRED, text) for text in ("", "Hi", call, two)] == [False, False, True, True]
    assert [model.may_write(ONE, text) for text in ("", "Hi", call, two)] == [False, False, True, False]


def test_calls_follow_their_schemas(model: Model) -> None:
    wrong = [("get_weather", '{"town": "Paris"}'), ("get_weather", "{}"), ("nothing", "{}")]
    for use in (AUTO, REQUIRED):
        assert not any(model.may_write(use, model.calls(call)) for call in wrong)
    assert model.may_write(REQUIRED, model.calls(("now", '{"a": [1]}')))
    assert not model.may_write(ONE, model.calls(("now", "{}")))


def test_text_before_a_call_is_for_formats_with_a_mark(model: Model) -> None:
    assert model.may_write(AUTO, model.calls(PARIS, text="So:\n")) != bool(
        model.format.is_bare and model.dialect.tokens
    )
    if not model.format.is_bare:
        assert not model.may_write(AUTO, model.calls(("nothing", "{}"), text="So:\n"))


def test_text_may_have_to_be_json(model: Model) -> None:
    form = Form("json_schema", {"enum": ["a"]}, "response_format")
    call = model.calls(PARIS)
    assert [model.may_write(AUTO, text, form) for text in ('"a"', "b", call)] == [True, False, True]
    assert model.may_write(AUTO, '{"b": 1}', Form("json_object", None, "response_format"))


def test_calls_come_to_an_end(model: Model) -> None:
    most = [("now", "{}")] * MAX_CALLS
    assert model.may_write(REQUIRED, model.calls(*most))
    assert not model.may_write(REQUIRED, model.calls(*most, most[0]))


def test_only_a_strict_schema_must_be_known_wholly(make_tokenizer: MakeTokenizer) -> None:
    odd: Any = {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}
    model = Model(make_tokenizer(templates.QWEN))
    call = model.calls(("odd", '{"a": [1, 1]}'))
    loose, strict = (Tool("odd", None, odd, strict) for strict in (False, True))
    assert model.may_write(ToolUse((loose,), (loose,)), call)
    with pytest.raises(InvalidRequest, match="uniqueItems"):
        model.may_write(ToolUse((strict,), (strict,)), call)

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from serving.engine.core import EngineConfig, GenerationRequest
from serving.engine.engine import Engine
from serving.engine.errors import InvalidRequest
from serving.engine.native.runner import NativeRunner
from serving.engine.sampling.params import SamplingParams
from serving.engine.sampling.structured import MAX_SOURCE_BYTES, GrammarCompiler
from serving.engine.transformers_runner import TransformersRunner

VOCAB = 49152
CONFIG = EngineConfig(max_model_len=256, kv_blocks=64, block_size=16)
PERSON = {
    "type": "object",
    "properties": {
        "name": {"enum": ["Ada", "Grace"]},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


NESTED = "[" * 10_000 + "]" * 10_000


@pytest.fixture(scope="module")
def tokenizer(model_folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(model_folder)


@pytest.fixture(scope="module")
def grammars(tokenizer: Any) -> GrammarCompiler:
    return GrammarCompiler(tokenizer, VOCAB, {2})


@pytest.fixture(scope="module", params=["general", "native"])
def runner(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model that talks nonsense: whatever form its answers have comes from the grammar."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=64, intermediate_size=64, num_hidden_layers=1,
        num_attention_heads=4, num_key_value_heads=2, head_dim=16, eos_token_id=2, bos_token_id=1,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).eval()
    if request.param == "general":
        return TransformersRunner(model, "tiny")
    folder: Path = tmp_path_factory.mktemp("tiny")
    model.save_pretrained(folder)
    return NativeRunner.from_pretrained(folder, "int8")


@pytest.fixture
def answer(runner: Any, tokenizer: Any) -> Callable[..., dict[str, tuple[str, str | None]]]:
    """Text and finish reason of requests that run in one batch."""

    def answer(**requests: SamplingParams) -> dict[str, tuple[str, str | None]]:
        tokens: dict[str, list[int]] = {name: [] for name in requests}
        reasons: dict[str, str | None] = {}

        def receive(news: Any) -> None:
            for output in news:
                tokens[output.request_id] += output.token_ids
                reasons[output.request_id] = output.error or output.finish_reason

        engine = Engine(CONFIG, runner, receive)
        for number, (name, params) in enumerate(requests.items()):
            engine.submit(GenerationRequest(name, (number + 5, 6, 7), params))
        while engine.stats().running + engine.stats().waiting:
            engine.step()
        return {name: (tokenizer.decode(ids), reasons[name]) for name, ids in tokens.items()}

    return answer


def params(grammar: Any = None, **changes: Any) -> SamplingParams:
    return SamplingParams(**{"max_tokens": 100, "temperature": 1.5, "seed": 1, "grammar": grammar, **changes})


def test_every_kind_of_grammar_forms_its_answer_beside_one_that_has_none(
    answer: Any, grammars: GrammarCompiler
) -> None:
    answers = answer(
        schema=params(grammars.compile("json_schema", PERSON)),
        greedy=params(grammars.compile("json_schema", json.dumps(PERSON)), temperature=0),
        regex=params(grammars.compile("regex", r"\d{3}-\d{4}"), repetition_penalty=1.3),
        choice=params(grammars.compile("choice", ["yes", 'no, "never"\n'])),
        lark=params(grammars.compile("lark", 'start: "<" WORD ">"\nWORD: /[a-z]{2,5}/')),
        free=params(),
    )
    for name in ("schema", "greedy"):
        person = json.loads(answers[name][0])
        assert person["name"] in ("Ada", "Grace")
        assert 0 <= person["age"] <= 130
    assert re.fullmatch(r"\d{3}-\d{4}", answers["regex"][0])
    assert answers["choice"][0] in ("yes", 'no, "never"\n')
    assert re.fullmatch("<[a-z]{2,5}>", answers["lark"][0])
    assert {reason for name, (_, reason) in answers.items() if name != "free"} == {"stop"}
    alone = answer(**dict.fromkeys("abcde", params()), free=params())["free"]
    assert answers["free"][0][:20] == alone[0][:20], "as long as all six are in the batch"
    assert answers["free"][1] == "length"


def test_json_object_starts_an_object_and_a_length_may_cut_it(answer: Any, grammars: GrammarCompiler) -> None:
    text, reason = answer(r=params(grammars.compile("json_object"), max_tokens=3))["r"]
    assert text.lstrip().startswith("{")
    assert reason in ("length", "stop")


def test_a_grammar_that_is_done_ends_the_answer_although_eos_is_ignored(
    answer: Any, grammars: GrammarCompiler
) -> None:
    grammar = grammars.compile("regex", "a|b*")
    text, reason = answer(r=params(grammar, ignore_eos=True, max_tokens=40))["r"]
    assert re.fullmatch("a|b*", text.replace("<|im_end|>", ""))
    assert reason in ("stop", "length")


@pytest.mark.parametrize(
    ("kind", "source", "says"),
    [
        ("regex", "(a|b", "unclosed group"),
        ("json_schema", {"type": "frog"}, "Invalid type: frog"),
        ("json_schema", "[1", "json_schema grammar is not valid"),
        ("lark", "start: foo", 'unknown name: "foo"'),
        ("choice", [], "at least one string"),
        ("choice", ["a", 1], "at least one string"),
        ("regex", "a" * 20000, "longer than 16384 bytes"),
        ("regex", "a?" * 4000, "lexer precomputation failed"),
        ("json_schema", NESTED, "recursion limit exceeded"),
        ("json_schema", "[" * 70_000, "longer than 65536 bytes"),
    ],
)
def test_what_cannot_be_compiled_is_refused_with_the_reason(
    grammars: GrammarCompiler, kind: Any, source: Any, says: str
) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(says)):
        grammars.compile(kind, source)


def test_one_of_thousands_of_choices_may_begin_like_another(answer: Any, grammars: GrammarCompiler) -> None:
    numbers = [str(number) for number in range(5000)]
    text, reason = answer(r=params(grammars.compile("choice", numbers)))["r"]
    assert (text in numbers, reason) == (True, "stop")


def test_a_grammar_that_proves_too_large_on_the_way_ends_its_own_answer_alone(
    answer: Any, grammars: GrammarCompiler
) -> None:
    too_large = grammars.compile("lark", "start: " + " | ".join(['"a"'] * 2700))
    answers = answer(large=params(too_large), free=params(max_tokens=5))
    assert "The grammar cannot be followed: Parser Error: Current row has" in answers["large"][1]
    assert answers["free"][1] == "length"


def test_a_grammar_is_compiled_once(grammars: GrammarCompiler) -> None:
    assert grammars.compile("json_schema", PERSON) is grammars.compile("json_schema", PERSON)
    assert grammars.compile("regex", "abc") is not grammars.compile("choice", ["abc"])


def test_a_grammar_and_min_tokens_contradict_each_other(grammars: GrammarCompiler) -> None:
    with pytest.raises(InvalidRequest, match="min_tokens cannot be joined with a grammar"):
        params(grammars.compile("regex", "a"), min_tokens=5)


def test_the_longest_chain_of_rules_that_is_taken_does_not_overflow_the_stack(
    grammars: GrammarCompiler,
) -> None:
    """3,500 rules crash llguidance 1.9.1 and the process with it."""
    rules, number = ["start: r0"], 0
    while len("\n".join(rules)) < MAX_SOURCE_BYTES["lark"] - 30:
        rules.append(f"r{number}: r{number + 1}")
        number += 1
    errors: list[Exception] = []

    def compile_and_follow() -> None:
        try:
            state = grammars.compile("lark", "\n".join([*rules, f'r{number}: "a"'])).start()
            state.allowed()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=compile_and_follow)
    thread.start()
    thread.join()
    assert errors == []

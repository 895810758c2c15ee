"""Two thousand requests made of the OpenAPI schema, half of them wrong on purpose: none makes the server
fail, what the schema forbids is refused under /v1, and every answer is one that it tells of."""

from __future__ import annotations

from math import ceil
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.config import SchemathesisConfig
from schemathesis.generation import GenerationMode

from serving.docs import openapi_schema
from tests.schema.things import MODEL, Things, mint, session_of
from tests.server import Server

pytestmark = pytest.mark.slow

OPERATIONS = {
    (method, path): operation
    for path, methods in openapi_schema()["paths"].items()
    for method, operation in methods.items()
}
VARIED = [named for named, about in OPERATIONS.items() if about.keys() & {"parameters", "requestBody"}]
EXAMPLES = ceil(2000 / len(VARIED))  # of each; a key's bucket holds 50
FEW = 2
COUNTS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "min_tokens", "n", "best_of")
LENGTHS = {  # where an answer without any is as long as the model likes
    "/v1/chat/completions": "max_completion_tokens",
    "/v1/responses": "max_output_tokens",
}

load_all_checks()
CHECKS_OF_ANSWERS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
]
LOOSE: Any = CHECKS.get_by_names(CHECKS_OF_ANSWERS)  # /api/v1 takes "1" for 1, as REST framework does
STRICT: Any = CHECKS.get_by_names([*CHECKS_OF_ANSWERS, "negative_data_rejection"])
# The same ones each time: what is being changed is not to blame for what was wrong before.
made = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def schema(server: Server) -> schemathesis.BaseSchema:
    """Keys are ours to send: wrong ones would only get the same 401 again and again."""
    config = SchemathesisConfig.from_dict({"generation": {"with-security-parameters": False}})
    return schemathesis.openapi.from_url(f"{server.url}/v1/openapi.json", config=config)


@pytest.fixture(scope="module")
def keys(server: Server) -> dict[tuple[str, str], str]:
    return dict(zip(OPERATIONS, mint(server, len(OPERATIONS)), strict=True))


@pytest.mark.parametrize("named", OPERATIONS, ids=" ".join)
def test_every_answer_is_in_the_schema(
    named: tuple[str, str],
    server: Server,
    schema: schemathesis.BaseSchema,
    keys: dict[tuple[str, str], str],
) -> None:
    method, path = named
    operation, session = schema[path][method], session_of(keys[named])
    names = [parameter.name for parameter in operation.path_parameters]
    there_is = {name: Things(server.url, session).named_in(path, name) for name in names}
    count = 0

    @made
    @given(
        case=st.one_of(*(operation.as_strategy(mode) for mode in GenerationMode)),
        exists=st.sampled_from([True, True, False]),
    )
    def ask(case: schemathesis.Case[Any], exists: bool) -> None:
        nonlocal count
        count += 1
        if exists:
            case.path_parameters |= there_is
        right = case.meta is not None and case.meta.generation.mode.is_positive
        make_short(path, case.body, right=right)
        answer = case.call(session=session)
        case.validate_response(answer, checks=STRICT if path.startswith("/v1/") else LOOSE)

    ask()
    assert count == EXAMPLES or named not in VARIED


def make_short(path: str, body: Any, *, right: bool) -> None:
    """Asks a model that there is, and for a few tokens: how much is written makes no other answer."""
    if not isinstance(body, dict):
        return
    if isinstance(body.get("model"), str):
        body["model"] = MODEL
    if not right:  # it must not become so
        return
    if path in LENGTHS and not body.keys() & set(COUNTS[:2]):
        body[LENGTHS[path]] = FEW
    for name in COUNTS:
        if type(body.get(name)) is int:
            body[name] = min(body[name], FEW)

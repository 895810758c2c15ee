"""The schema tells of both APIs, and docs/api.md of every field that may be sent to /api/v1."""

from __future__ import annotations

import re
import warnings
from typing import Any, cast

import pytest

from console.api.urls import urlpatterns
from serving.docs import openapi_schema
from tests.environment import REPOSITORY

PAGE = (REPOSITORY / "docs" / "api.md").read_text()
SCHEMA = openapi_schema()
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, operations in SCHEMA["paths"].items()
    for method, operation in operations.items()
    if path.startswith("/api/v1/")
}


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return SCHEMA["components"]["schemas"][name] if name else schema


def sent_with(operation: dict[str, Any]) -> dict[str, bool]:
    """What may be sent, and whether it must be."""
    sent = {
        parameter["name"]: parameter.get("required", False)
        for parameter in operation.get("parameters", [])
        if parameter["in"] == "query"
    }
    if body := operation.get("requestBody"):
        shape = resolved(body["content"]["application/json"]["schema"])
        sent |= {name: name in shape.get("required", []) for name in shape["properties"]}
    return sent


def address(pattern: str) -> str:
    return re.sub(r"<\w+:(\w+)>", r"{\1}", pattern).replace("{pk}", "{id}")


def test_every_address_is_in_the_schema() -> None:
    views = {address(str(pattern.pattern)): cast(Any, pattern.callback) for pattern in urlpatterns}
    served = {
        f"{method.upper()} /api/v1/{path}"
        for path, view in views.items()
        for method in view.actions
        if method != "head"  # which comes with GET
    }
    assert served == set(OPERATIONS)


def test_the_schema_tells_of_both_apis() -> None:
    assert "/v1/chat/completions" in SCHEMA["paths"]
    assert set(SCHEMA["components"]["securitySchemes"]) == {"ApiKey", "Browser"}
    assert OPERATIONS["GET /api/v1/keys"]["security"] == [{"ApiKey": []}, {"Browser": []}]
    names = [op["operationId"] for path in SCHEMA["paths"].values() for op in path.values()]
    assert len(names) == len(set(names))


def test_every_tag_has_its_place_on_the_page() -> None:
    used = {tag for path in SCHEMA["paths"].values() for op in path.values() for tag in op["tags"]}
    assert used == {tag["name"] for tag in SCHEMA["tags"]}


def test_what_is_not_found_is_what_the_address_names() -> None:
    for path, operations in SCHEMA["paths"].items():
        if named := re.search(r"^/v1/.*\{(\w+_id)\}", path):
            for operation in operations.values():
                examples = operation["responses"]["404"]["content"]["application/json"]["examples"]
                assert [each["value"]["error"]["param"] for each in examples.values()] == [named[1]], path


def test_bodies_of_which_something_is_required_must_be_there() -> None:
    optional = {
        path
        for path, operations in SCHEMA["paths"].items()
        for operation in operations.values()
        if "requestBody" in operation and not operation["requestBody"].get("required")
    }
    assert optional == {
        "/api/v1/keys/{id}",
        "/api/v1/keys/{id}/rotate",
        "/api/v1/projects/{id}",
        "/api/v1/projects/{project}/members/{id}",
        "/api/v1/sessions",
    }


def test_making_the_schema_leaves_nothing_to_guess() -> None:
    openapi_schema.cache_clear()
    with warnings.catch_warnings(record=True) as caught:
        openapi_schema()
    assert [str(warning.message) for warning in caught] == []


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_page_tells_of_every_field(name: str) -> None:
    section = re.split(rf"^### `{re.escape(name)}`$", PAGE, flags=re.MULTILINE)[1].split("\n### ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (required|optional) \|", section, re.MULTILINE)
    wanted = {
        field: "required" if must else "optional" for field, must in sent_with(OPERATIONS[name]).items()
    }
    assert dict(rows) == wanted
    assert len(rows) == len(wanted)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_example_has_the_shape_that_is_told(name: str) -> None:
    operation = OPERATIONS[name]
    for status, response in operation["responses"].items():
        for content in response.get("content", {}).values():
            for example in content.get("examples", {}).values():
                shape = resolved(content["schema"])
                missing = set(shape.get("required", [])) - set(example["value"])
                assert not missing, (status, missing)
                assert set(example["value"]) <= set(shape["properties"])

"""Bodies as no client should send them: good ones, changed at random."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

DEEP: Any = "x"
for _ in range(200):
    DEEP = [DEEP]

# What has broken parsers before: types that are nearly right, edges of ranges, text that is none.
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 17, 2**31, 2**63, -(2**63) - 1, 10**400),
    *(0.0, -0.0, 0.5, 1e-320, 1e308, float("inf"), float("-inf")),
    *("", " ", "x", "1", "null", "true", "\0", "\ud800", "é", "🌸", "\u202e", "x" * 10_000),
    *([], {}, [[]], [{}], {"": None}, ["x"] * 5, [None], [0.5], [True], ["x", 1], [1, "x"], [[1], "x"], DEEP),
    *({"type": "text"}, {"type": "json_schema"}, {"type": "function"}, {"type": []}, {"role": "user"}),
    *(
        "text",
        "json_object",
        "json_schema",
        "user",
        "system",
        "assistant",
        "tool",
        "auto",
        "none",
        "required",
    ),
)


def mutated(body: Any, names: Sequence[str], random: Random) -> Any:
    """A copy of ``body`` with one to four changes; ``names`` are fields that it might have."""
    body = copy.deepcopy(body)
    for _ in range(random.randint(1, 4)):
        holder, place = random.choice([(None, None), *_places(body)])
        if holder is None:
            body = _change_object(body, names, random)
        else:
            holder[place] = _change(holder[place], names, random)
    return body


def scrambled(body: Any, random: Random) -> bytes:
    """Its JSON, with one to four of its bytes changed, lost or doubled."""
    text = bytearray(json.dumps(body).encode())
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(text))
        text[at : at + random.randint(0, 2)] = random.choice(
            (
                b"",
                b'"',
                b"{",
                b"}",
                b"[",
                b"]",
                b",",
                b":",
                b"\\",
                b"\\ud800",
                b"\xff",
                b"9" * 30,
                b"1e999",
                b"NaN",
            )
        )
    return bytes(text)


def _places(body: Any) -> Iterator[tuple[Any, Any]]:
    """Each container in ``body`` with each of its keys or indexes, as deep as they go."""
    items = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    for place, value in list(items):
        yield body, place
        yield from _places(value)


def _change(value: Any, names: Sequence[str], random: Random) -> Any:
    match random.randrange(4):
        case 0:
            return _change_object(value, names, random)
        case 1:
            return [value] * random.randint(1, 3)
        case _:
            return copy.deepcopy(random.choice(VALUES))


def _change_object(value: Any, names: Sequence[str], random: Random) -> Any:
    """With one field more, or fewer."""
    if not isinstance(value, dict):
        return copy.deepcopy(random.choice(VALUES))
    if value and random.random() < 0.3:
        del value[random.choice(list(value))]
    else:
        value[random.choice(names)] = copy.deepcopy(random.choice(VALUES))
    return value

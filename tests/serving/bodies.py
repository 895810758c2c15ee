"""What a client might send instead of what is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from serving.errors import BadRequest


def refused_param(parse: Callable[[Any], object], body: Any) -> str | None:
    """The field that is to blame; None when the body is accepted."""
    try:
        parse(body)
    except BadRequest as error:
        return error.param or "nothing"
    return None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)

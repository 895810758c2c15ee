"""English sentences for people, which a page can say in another language."""

from __future__ import annotations


class Saying(str):
    """A str like any other to whoever wants English. ``text`` has a ``%(name)s`` for each of ``values``,
    of which some may be sayings themselves."""

    __slots__ = ("text", "values")
    text: str
    values: dict[str, object]


def say(text: str, **values: object) -> Saying:
    """``text`` must be written out where this is called: there the translations' texts are found."""
    saying = Saying(text % values)
    saying.text, saying.values = text, values
    return saying

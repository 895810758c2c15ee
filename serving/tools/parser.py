"""A model's answer, as it comes, taken apart into text and calls of tools."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import regex

from serving.tools.formats import ToolFormat


@dataclass(frozen=True, slots=True)
class CallPiece:
    """A piece of the ``number``-th call of an answer, from 0. Its first one has the ``id``, the ``name`` and
    no arguments yet; put together, the ``arguments`` are what the model wrote."""

    number: int
    arguments: str = ""
    id: str = ""
    name: str = ""


Piece = str | CallPiece


class CallParser:
    """One answer. However it is cut into pieces, its text and its calls are the same.

    What begins like a call and turns out to be none is text. White space around calls is left out.
    """

    def __init__(self, form: ToolFormat, owner: str) -> None:
        """The ids of calls are made of ``owner``: no two answers have the same."""
        self._format = form
        self._owner = owner
        self._reading: Literal["text", "arguments", "end"] = "text"
        self._held = ""
        self._calls = 0
        self._told = False  # whether text or a call has been given out
        self._strips = False  # whether space is to be left out: behind a call
        self._arguments = _JsonObject()

    @property
    def has_called(self) -> bool:
        """Whether there were calls, of which the last has all its arguments."""
        return self._calls > 0 and self._reading != "arguments"

    def feed(self, text: str) -> list[Piece]:
        """What became certain with ``text``."""
        self._held += text
        pieces: list[Piece] = []
        read = {"text": self._read_text, "arguments": self._read_arguments, "end": self._read_end}
        while self._held and read[self._reading](pieces):
            pass
        return pieces

    def finish(self) -> list[Piece]:
        """What was held back, when no text follows. What is missing behind the arguments is not missed."""
        pieces: list[Piece] = []
        if self._reading == "text":
            self._give_text(pieces, len(self._held))
        return pieces

    def _read_text(self, pieces: list[Piece]) -> bool:
        """Like the other two: whether what is left may be read on."""
        found = self._find_call()
        self._give_text(pieces, found.start() if found else len(self._held))
        if found is None or found.partial:
            return False
        self._begin_call(pieces, found)
        return True

    def _read_arguments(self, pieces: list[Piece]) -> bool:
        end = self._arguments.find_end(self._held)
        length = len(self._held) if end is None else end
        pieces.append(CallPiece(self._calls - 1, self._held[:length]))
        self._held = self._held[length:]
        if end is not None:
            self._reading = "end"
        return end is not None

    def _read_end(self, pieces: list[Piece]) -> bool:
        found = self._format.go_on.match(self._held, partial=True)
        if found is not None and found.partial:
            return False
        if found is not None and found.group("name"):
            self._begin_call(pieces, found)
            return True
        self._reading = "text"
        self._held = self._held[found.end() :] if found else self._held
        return True

    def _find_call(self) -> regex.Match[str] | None:
        """The beginning of a call, or what may become one."""
        if not self._format.is_bare:
            return self._format.begin.search(self._held, partial=True)
        return None if self._told else self._format.begin.match(self._held, partial=True)

    def _give_text(self, pieces: list[Piece], length: int) -> None:
        text, self._held = self._held[:length], self._held[length:]
        if self._strips:
            text = text.lstrip()
        if text:
            pieces.append(text)
            self._told, self._strips = True, False

    def _begin_call(self, pieces: list[Piece], found: regex.Match[str]) -> None:
        self._held = found.string[found.end() :]
        pieces.append(CallPiece(self._calls, id=self._new_id(), name=found.group("name")))
        self._calls += 1
        self._told = self._strips = True
        self._reading, self._arguments = "arguments", _JsonObject()

    def _new_id(self) -> str:
        made = hashlib.blake2b(f"{self._owner}-{self._calls}".encode(), digest_size=12)
        return f"call_{made.hexdigest()}"


class _JsonObject:
    """Finds the end of a JSON object that comes in pieces."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escapes = False

    def find_end(self, piece: str) -> int | None:
        """How much of ``piece`` belongs to the object; None when all does and there is more to come."""
        for at, letter in enumerate(piece):
            if self._escapes:
                self._escapes = False
            elif self._in_string:
                self._escapes = letter == "\\"
                self._in_string = letter != '"'
            elif letter == '"':
                self._in_string = True
            elif letter in "{[":
                self._depth += 1
            elif letter in "}]":
                self._depth -= 1
                if self._depth == 0:
                    return at + 1
        return None

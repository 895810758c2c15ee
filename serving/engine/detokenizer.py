"""Token ids to text while they arrive, and stop strings in that text. Used outside the engine's
thread, which knows token ids only."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Sequence as Seq

_UNFINISHED = "\N{REPLACEMENT CHARACTER}"


class Detokenizer:
    """Turns the tokens of one sequence into text, piece by piece.

    A character is given out once all its bytes are there; put together, the pieces equal ``decode`` of
    all tokens. Each piece is decoded with the one before it as context, for many tokenizers treat the
    beginning of a text differently (the method of text-generation-inference).
    """

    def __init__(self, decode: Callable[[Seq[int]], str]) -> None:
        self._decode = decode
        # Tokens not known to be settled: the last settled piece, then what came after it.
        self._context: list[int] = []
        self._pending: list[int] = []

    def feed(self, token_ids: Iterable[int]) -> str:
        """The text that became certain with ``token_ids``; often one word, sometimes nothing."""
        return "".join([self._feed_one(token) for token in token_ids])

    def finish(self) -> str:
        """What is left when no token follows: an unfinished character as U+FFFD, or nothing."""
        piece = self._new_text()
        self._settle()
        return piece

    def _feed_one(self, token: int) -> str:
        self._pending.append(token)
        piece = self._new_text()
        if not piece or piece.endswith(_UNFINISHED):
            return ""
        self._settle()
        return piece

    def _new_text(self) -> str:
        before = self._decode(self._context) if self._context else ""
        return self._decode(self._context + self._pending)[len(before) :]

    def _settle(self) -> None:
        self._context, self._pending = self._pending, []


class StopMatcher:
    """Cuts a text that arrives in pieces before the first of ``stops``, which is never given out, not
    even in part."""

    def __init__(self, stops: Iterable[str]) -> None:
        """Empty strings are no stops."""
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.matched: str | None = None

    def feed(self, piece: str) -> str:
        """The text that is certain to be before any stop. Nothing once one has ``matched``."""
        if self.matched is not None:
            return ""
        if not self._stops:
            return piece
        self._held += piece
        found = [(at, -len(stop), stop) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            # The earliest; of two that begin at the same place the longer.
            at, _, self.matched = min(found)
            return self._give_out(at)
        return self._give_out(len(self._held) - self._longest_beginning())

    def finish(self) -> str:
        """What was held back, when no text follows and nothing matched."""
        return "" if self.matched is not None else self._give_out(len(self._held))

    def _give_out(self, length: int) -> str:
        given, self._held = self._held[:length], self._held[length:]
        return given

    def _longest_beginning(self) -> int:
        """Length of the longest end of the held text with which some stop begins."""
        return max((_overlap(self._held, stop) for stop in self._stops), default=0)


def _overlap(text: str, stop: str) -> int:
    longest = min(len(text), len(stop) - 1)
    return next((length for length in range(longest, 0, -1) if text.endswith(stop[:length])), 0)

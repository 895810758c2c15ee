"""Decisions on Redis: one script each (the ``.lua`` files beside this one), the same for all servers."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import datetime
from pathlib import Path
from typing import Any

from apikeys.limits.buckets import Owned
from apikeys.limits.budgets import NOTHING, PERIODS, Amount, Budget, Period, name_of
from apikeys.limits.demands import Demand, Found, Settlement
from apikeys.limits.shared.line import Command, Line

PREFIX = "limits:"
LEASE = 30_000_000  # microseconds that a permit counts without its server being heard of
ALIVE = 15_000_000  # microseconds that a server counts as alive without being heard of
KEEP_SPENT = 40 * 86_400  # seconds: longer than a month
_THOUSAND = 1000  # nanoseconds, in which buckets reckon, to a microsecond, in which the scripts do


class _Script:
    def __init__(self, name: str) -> None:
        files = (Path(__file__).with_name(f"{part}.lua") for part in ("common", name))
        self.text = "".join(file.read_text(encoding="utf-8") for file in files)
        self._sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def call(self, keys: Sequence[str], *arguments: str | int) -> Command:
        return ("EVALSHA", self._sha, len(keys), *keys, *arguments)


_DECIDE, _SETTLE, _LEARN, _PULSE = (_Script(name) for name in ("decide", "settle", "learn", "pulse"))


class RedisStore:
    """A ``Store``. ``decide`` raises ``Away``; nothing else tells of a Redis that does not answer.

    ``clock`` gives nanoseconds, in tests; else Redis' own time counts, the same for all servers.
    """

    def __init__(
        self,
        url: str,
        recovered: Callable[[], None] = lambda: None,
        *,
        prefix: str = PREFIX,
        clock: Callable[[], int] | None = None,
    ) -> None:
        self.servers = 1  # alive when last heard of
        self._server = secrets.token_hex(8)
        self._prefix = prefix
        self._clock = clock
        # What this server has running, by permit: it says every few seconds that these live.
        self._places: dict[str, list[str]] = {}
        self._holds: dict[str, tuple[list[str], Amount]] = {}
        greetings = [("SCRIPT", "LOAD", script.text) for script in (_DECIDE, _SETTLE, _LEARN, _PULSE)]
        self._line = Line(url, greetings, self._pulse, self._heard, recovered)
        self.start = self._line.start

    @property
    def away_since(self) -> datetime | None:
        return self._line.away_since

    def stop(self) -> None:
        self._line.ask("ZREM", f"{self._prefix}servers", self._server)
        self._line.stop()

    async def decide(self, demand: Demand) -> Found:
        if not (demand.takes or demand.places or demand.budgets):
            return Found(demand, self, passed=True)
        answer = self._line.ask(*self._decision(demand))
        try:
            found = self._found(demand, await asyncio.shield(asyncio.wrap_future(answer)))
        except asyncio.CancelledError:
            answer.add_done_callback(lambda done: self._undo(demand, done))
            raise
        if found.passed:
            self._remember(demand)
        return found

    def leave(self, admission: Found) -> None:
        if admission.store is self:
            permit = admission.demand.permit
            self._places.pop(permit, None)
            for key in self._place_keys(admission.demand):
                self._line.ask("ZREM", key, permit)

    def settle(self, settlement: Settlement) -> None:
        if settlement.store is not self:
            return  # what was decided elsewhere is learned from the database
        self._holds.pop(settlement.permit, None)
        buckets = settlement.buckets
        holds = [self._held_key(owner) for owner in settlement.payers]
        spent = [
            self._spent_key(owner, period, settlement.day)
            for owner in settlement.payers
            for period in PERIODS
        ]
        if not (buckets or spent):
            return
        used, reserved = settlement.used, settlement.reserved
        keys = [*map(self._bucket_key, buckets), *holds, *spent]
        rates = [each for _, bucket in buckets for each in (bucket.rate, bucket.period // _THOUSAND)]
        self._line.ask(
            *_SETTLE.call(
                keys,
                self._now(),
                settlement.permit,
                used.tokens,
                used.money,
                used.tokens - reserved.tokens,
                KEEP_SPENT,
                len(buckets),
                len(holds),
                *rates,
            )
        )

    def learn(self, owner: str, period: Period, day: str, spent: Amount) -> None:
        key = self._spent_key(owner, period, day)
        self._line.ask(*_LEARN.call([key], self._now(), spent.tokens, spent.money, KEEP_SPENT))

    def _decision(self, demand: Demand) -> Command:
        keys = [*map(self._bucket_key, demand.takes), *self._place_keys(demand)]
        for budget in demand.budgets:
            keys += [
                self._spent_key(budget.owner, budget.period, demand.day),
                self._held_key(budget.owner),
            ]
        arguments: list[str | int] = []
        for _, bucket in demand.takes:
            arguments += [bucket.rate, bucket.period // _THOUSAND, bucket.burst]
        arguments += [limit for _, limit in demand.places]
        for budget in demand.budgets:
            arguments += [budget.kind, budget.limit]
        hold = ("", "") if demand.hold is None else (demand.hold.tokens, demand.hold.money)
        counts = (len(demand.takes), len(demand.places), len(demand.budgets))
        return _DECIDE.call(
            keys, self._now(), demand.permit, LEASE, demand.amount, *hold, *counts, *arguments
        )

    def _found(self, demand: Demand, answer: list[Any]) -> Found:
        passed, *numbers = map(int, answer)
        buckets, places = len(demand.takes), len(demand.places)
        accounts = numbers[buckets + places :]
        return Found(
            demand,
            self,
            bool(passed),
            missing=tuple(parts * _THOUSAND for parts in numbers[:buckets]),
            running=tuple(numbers[buckets : buckets + places]),
            spent=tuple(accounts[::2]),
            held=tuple(accounts[1::2]),
        )

    def _remember(self, demand: Demand) -> None:
        if demand.places:
            self._places[demand.permit] = self._place_keys(demand)
        if demand.hold is not None and demand.budgets:
            keys = [self._held_key(owner) for owner in _payers(demand.budgets)]
            self._holds[demand.permit] = (keys, demand.hold)

    def _undo(self, demand: Demand, done: Future[Any]) -> None:
        """Whoever asked did not wait for the answer."""
        if done.exception() is not None or not (found := self._found(demand, done.result())).passed:
            return
        if demand.hold is None:
            self.leave(found)
        else:
            payers = _payers(demand.budgets)
            self.settle(
                Settlement(demand.permit, demand.day, payers, NOTHING, demand.takes, demand.hold, self)
            )

    def _pulse(self) -> Command:
        places = [(key, permit) for permit, keys in self._places.copy().items() for key in keys]
        holds = [
            (key, permit, f"{hold.tokens}:{hold.money}")
            for permit, (keys, hold) in self._holds.copy().items()
            for key in keys
        ]
        keys = [f"{self._prefix}servers", *(place[0] for place in places), *(hold[0] for hold in holds)]
        said = [each for _, *hold in holds for each in hold]
        return _PULSE.call(
            keys,
            *(self._now(), self._server, ALIVE, LEASE, len(places)),
            *(permit for _, permit in places),
            *said,
        )

    def _heard(self, servers: int) -> None:
        self.servers = servers

    def _now(self) -> str:
        return "" if self._clock is None else str(self._clock() // _THOUSAND)

    def _bucket_key(self, owned: Owned) -> str:
        """A limit that is changed is another bucket, and begins full."""
        owner, bucket = owned
        return f"{self._prefix}{owner}:{bucket.unit}:{bucket.rate}:{bucket.period}:{bucket.burst}"

    def _place_keys(self, demand: Demand) -> list[str]:
        return [f"{self._prefix}{owner}:running" for owner, _ in demand.places]

    def _held_key(self, owner: str) -> str:
        return f"{self._prefix}{owner}:held"

    def _spent_key(self, owner: str, period: Period, day: str) -> str:
        return f"{self._prefix}{owner}:spent:{name_of(period, day)}"


def _payers(budgets: Sequence[Budget]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(budget.owner for budget in budgets))

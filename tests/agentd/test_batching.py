"""Asking about many units at once: one call, and one bad name harms no other."""

from __future__ import annotations

import asyncio

import pytest

from agentd.batching import Batch
from agentd.dependencies import BusLost
from registry.errors import SystemdError


class Book:
    """Answers with the length of each name, and refuses what is called bad."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.lost = False

    async def ask(self, units: list[str]) -> dict[str, int]:
        self.calls.append(units)
        if self.lost:
            raise BusLost(units[0], "list", "gone")
        if bad := [unit for unit in units if unit.startswith("bad")]:
            raise SystemdError(bad[0], "list", "no such name")
        return {unit: len(unit) for unit in units}


async def test_those_who_ask_in_the_same_turn_share_a_call() -> None:
    book = Book()
    together = Batch(book.ask, BusLost)
    assert await asyncio.gather(*(together.about(name) for name in ("a", "bcd", "a"))) == [1, 3, 1]
    assert await together.about("ef") == 2
    assert book.calls == [["a", "bcd"], ["ef"]]


async def test_a_refused_name_spoils_no_answer_but_its_own() -> None:
    together = Batch(Book().ask, BusLost)
    asked = [together.about(name) for name in ("a", "bad", "bcd")]
    one, two, three = await asyncio.gather(*asked, return_exceptions=True)
    assert (one, three) == (1, 3)
    assert isinstance(two, SystemdError)


async def test_a_lost_bus_is_told_to_all_and_not_asked_again() -> None:
    book = Book()
    book.lost = True
    together = Batch(book.ask, BusLost)
    found = await asyncio.gather(together.about("a"), together.about("b"), return_exceptions=True)
    assert all(isinstance(each, BusLost) for each in found)
    assert len(book.calls) == 1


async def test_who_gives_up_takes_nobody_with_him() -> None:
    book = Book()
    together = Batch(book.ask, BusLost)
    impatient, patient = (asyncio.ensure_future(together.about(name)) for name in ("a", "bc"))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient == 2
    with pytest.raises(asyncio.CancelledError):
        await impatient

"""Our `dataclass` beside the standard one: whatever is asked of a class or a value, the answers are the same."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from dataclasses import field, fields, replace
from typing import Any

import pytest

from registry.frozen import dataclass as ours


def made(decorator: Callable[..., Any]) -> Any:
    """A class with all that ours use: an ancestor, keyword-only, factories, what is neither compared nor shown."""

    @decorator(frozen=True, slots=True, kw_only=True)
    class Base:
        unknown: str = field(default="", repr=False)

    @decorator(frozen=True, slots=True)
    class Value(Base):
        """Some value."""

        name: str
        count: int = 1
        items: dict[str, int] = field(default_factory=dict, compare=False)

        @property
        def twice(self) -> int:
            return 2 * self.count

    return Value


OURS, STANDARD = made(ours), made(dataclasses.dataclass)


def told(work: Callable[[], object]) -> str:
    """What comes of it, an error included."""
    try:
        return repr(work())
    except Exception as error:  # noqa: BLE001 - whatever it is
        return f"{type(error).__name__}: {error}"


ASKED: dict[str, Callable[[Any], object]] = {
    "fields": lambda cls: [(each.name, each.default, each.kw_only, each.compare) for each in fields(cls)],
    "match": lambda cls: cls.__match_args__,
    "slots": lambda cls: (cls.__slots__, hasattr(cls("a"), "__dict__"), cls.__doc__),
    "made": lambda cls: cls("a", 3, unknown="x"),
    "missing": lambda cls: cls(),
    "foreign": lambda cls: cls("a", foreign=1),
    "placed": lambda cls: cls("a", 1, {}, "x"),
    "equal": lambda cls: [cls("a", 1, {"b": 1}) == cls("a"), cls("a") == cls("b"), cls("a") == "a"],
    "hash": lambda cls: hash(cls("a", 2)) == hash(cls("a", 2, {"c": 1})),
    "replaced": lambda cls: replace(cls("a"), count=7),
    "dict": lambda cls: dataclasses.asdict(cls("a", unknown="y")),
    "set": lambda cls: setattr(cls("a"), "name", "b"),
    "deleted": lambda cls: delattr(cls("a"), "name"),
    "copied": lambda cls: copy.deepcopy(cls("a", 2, {"b": 1})),
    "own": lambda cls: (cls("a", 4).twice, cls("a").items is cls("a").items, dataclasses.is_dataclass(cls)),
}


@pytest.mark.parametrize("question", ASKED)
def test_it_answers_as_the_standard_one(question: str) -> None:
    assert told(lambda: ASKED[question](OURS)) == told(lambda: ASKED[question](STANDARD))


@ours(frozen=True, slots=True)
class Kept:
    """A value that a pickle finds by its name."""

    name: str
    count: int = 1


def test_a_value_comes_back_from_a_pickle() -> None:
    assert pickle.loads(pickle.dumps(Kept("a", 5))) == Kept("a", 5)  # noqa: S301 - our own


def test_what_is_compared_first_is_compiled_then() -> None:
    first, second = object.__new__(Kept), object.__new__(Kept)
    for each in (first, second):
        each.__setstate__(["a", 1])  # type: ignore[attr-defined]
    assert first == second
    assert len({first, second}) == 1

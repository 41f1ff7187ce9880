"""Lists as people read them."""

from __future__ import annotations

import pytest

from registry.wording import and_more, listed


@pytest.mark.parametrize(
    ("names", "most", "what", "told"),
    [
        ("", 3, "", ""),
        ("a", 3, "", "a"),
        ("abc", 3, "", "a, b, c"),
        ("abcd", 3, "", "a, b, c and 1 more"),
        ("abcdef", 2, "machines", "a, b and 4 more machines"),
    ],
)
def test_the_first_few_and_how_many_more(names: str, most: int, what: str, told: str) -> None:
    assert listed(iter(names), most, what) == told


def test_nothing_more_is_nothing() -> None:
    assert [and_more(left) for left in (-3, 0, 1)] == ["", "", "and 1 more"]

"""The language of filters: what it means, that any text is one or says where it is none, and what it costs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleettui.console.tables import query as language
from fleettui.console.tables.listing import Listing
from fleettui.console.tables.query import (
    FACETS,
    KINDS,
    Form,
    Query,
    Term,
    ValueKind,
    completed,
    facet_of,
    parse_query,
)
from fleettui.console.tables.rows import Delta
from fleettui.console.tables.units import COLUMNS, Meter, UnitRow
from tests.console.test_linear import grows_with_the_text
from tests.console.test_listing import row
from tests.console.test_screen import playing

NOW = 10_000.0
ROWS = [
    UnitRow("web@1.service", "web@1.service", host="core-1", word="active", since=NOW - 60, restarts=0,
            meter=Meter(50 << 20, 0.1)),
    UnitRow("web@12.service", "web@12.service", host="core-10", word="active", since=NOW - 7200, restarts=3,
            meter=Meter(200 << 20, 0.9)),
    UnitRow("sync.timer", "sync.timer", host="core-2", word="waiting", reason="being stopped by core-2"),
]  # fmt: skip


def found(text: str) -> list[str]:
    test = parse_query(text).test(NOW)
    return [each.unit.partition(".")[0] for each in ROWS if test(each)]


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("", ["web@1", "web@12", "sync"]),
        ("web@*", ["web@1", "web@12"]),
        ("web@?", ["web@1"]),
        ("*.timer", ["sync"]),
        ("!web@*", ["sync"]),
        ("unit:web@?", ["web@1"]),
        ("core-*", ["web@1", "web@12", "sync"]),
        ("/web@[0-9]{2}/", ["web@12"]),
        ("/WEB@1\\./", ["web@1"]),
        ("why:/stop+ed/", ["sync"]),
        ('"being stopped"', ["sync"]),
        ('"stopped being"', []),
        ('why:"being stopped"', ["sync"]),
        ("mem>100M", ["web@12"]),
        ("mem<=50MiB", ["web@1"]),
        ("!mem>100M", ["web@1", "sync"]),
        ("cpu>=50%", ["web@12"]),
        ("restarts>0", ["web@12"]),
        ("restarts:0", ["web@1"]),
        ("restarts!=0", ["web@12", "sync"]),
        ("since<5m", ["web@1"]),
        ("since>1h", ["web@12"]),
        ("machine=core-1", ["web@1"]),
        ("machine:core-1", ["web@1", "web@12"]),
        ("machine!=core-1 web", ["web@12"]),
        ("UNIT:WEB restarts>0", ["web@12"]),
        ("wb1", ["web@1", "web@12"]),
        ("machine= state:", ["web@1", "web@12", "sync"]),
    ],
)
def test_a_filter_means(text: str, units: list[str]) -> None:
    assert not parse_query(text).error
    assert found(text) == units


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("state>5", "at 7: > compares numbers"),
        ("web mem>lots", "at 9: lots is not a size such as 100M"),
        ("since<", "at 7: nothing is not an age such as 5m"),
        ('unit:"web', "at 6: the quote has no"),
        ("/web", "at 1: the expression has no /"),
        ("/usr/bin", 'a plain / is looked for with quotes: "/usr/bin"'),
        ("web /a(/", "at 5: not an expression"),
        ("!why:/(?=x)/", "at 6:"),
        ('mem>"5"', "at 5: mem is a size such as 100M"),
    ],
)
def test_what_is_not_well_formed_is_told_with_its_place(text: str, told: str) -> None:
    assert told in parse_query(text).error


WORDS = st.from_regex(r"[a-z@*?.-][a-z0-9@*?._-]{0,9}", fullmatch=True)
SOME = st.text(max_size=8).map(str.lower)
NUMBERS = st.builds(
    Term, st.from_regex(r"[0-9]{1,4}", fullmatch=True),
    st.sampled_from([facet for facet in FACETS if KINDS[facet] is not ValueKind.TEXT]),
    st.sampled_from([*language.SIGNS]), st.just(Form.WORD), st.booleans(),
)  # fmt: skip
TEXTS = st.sampled_from([facet for facet in FACETS if KINDS[facet] is ValueKind.TEXT])
TERMS = st.one_of(
    NUMBERS,
    st.builds(Term, WORDS, TEXTS, st.sampled_from(":="), st.just(Form.WORD), st.booleans()),
    st.builds(Term, SOME, TEXTS, st.sampled_from(":="), st.just(Form.QUOTED), st.booleans()),
    st.builds(Term, WORDS | SOME, st.just(""), st.just(""), st.just(Form.QUOTED), st.booleans()),
    st.builds(Term, st.from_regex(r"[a-z.]{1,5}", fullmatch=True), TEXTS, st.just(":"), st.just(Form.EXPRESSION),
              st.booleans()),
)  # fmt: skip


@given(st.lists(TERMS, max_size=5))
def test_what_is_written_is_read_again(terms: list[Term]) -> None:
    query = Query("", tuple(terms))
    again = parse_query(str(query))
    assert (again, again.error) == (query, "")


@given(st.text(st.sampled_from('ab:=<>!"/\\*? mem0'), max_size=30))
def test_any_text_is_a_filter_or_says_where_it_is_none(text: str) -> None:
    query = parse_query(text)
    assert isinstance(query.test(NOW)(ROWS[0]), bool)
    if query.error:
        assert 1 <= int(query.error.removeprefix("at ").partition(":")[0]) <= len(text) + 1
    assert parse_query(str(query)) == query
    completed(text, lambda _: ["web@1"])


@pytest.mark.parametrize("text", ["a*a*a*a*b", "/(a+)+$/", "aaab", "unit:a*a*a*a*b"])
def test_what_a_filter_costs_grows_with_the_name(text: str) -> None:
    query = parse_query(text)
    grows_with_the_text(lambda name: query.test(NOW)(row(name)), lambda size: "a" * size + "!", 200)


def test_a_filter_is_made_ready_once_and_sorts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    real = language.compiled

    def compiled(text: str) -> Callable[[str], object]:
        made.append(text)
        return real(text)

    monkeypatch.setattr(language, "compiled", compiled)
    listing: Listing[UnitRow] = Listing(COLUMNS)
    listing.apply(Delta({f"a{number}": row(f"a{number}") for number in range(500)}))
    query = parse_query("/a[0-9]7/")
    made.clear()
    monkeypatch.setattr(listing, "_sorted", lambda _: pytest.fail("sorted"))
    listing.filter(query)
    assert (len(made), listing.counts()) == (1, (49, 500))


def test_time_lets_rows_into_a_filter_that_asks_for_ages() -> None:
    listing: Listing[UnitRow] = Listing(COLUMNS)
    listing.apply(Delta({each.key: each for each in ROWS}))
    listing.filter(parse_query("since>2m"), now=NOW)
    assert listing.order == ["web@12.service"]
    assert not listing.age(NOW + 1)
    assert listing.age(NOW + 100)
    assert listing.order == ["web@1.service", "web@12.service"]


def test_every_facet_of_a_unit_is_of_its_kind() -> None:
    for facet, kind in KINDS.items():
        value = facet_of(ROWS[0], facet)
        assert value is None or isinstance(value, str) is (kind is ValueKind.TEXT), facet


async def test_the_line_says_what_it_understands_how_many_match_and_what_is_wrong() -> None:
    async with playing() as play:
        await play.press("slash", *"state:failed")
        assert "1 of " in play.text("hint")
        assert "state begins failed" in play.text("hint")
        await play.press(*" mem>lots")
        assert "✖ at 18: lots is not a size such as 100M" in play.text("hint")
        await play.press("enter")
        assert play.main.prompts.asking is not None  # nothing half understood is kept
        await play.press("escape", "colon", *"units restarts>0")
        assert "restarts > 0" in play.text("hint")
        await play.press("enter")
        assert play.main.views.open.table.listing.query.text == "restarts>0"


async def test_quotes_and_backslashes_reach_the_filter_of_a_command_line() -> None:
    async with playing() as play:
        await play.press("colon", *r'units "no machine" /sync\.|mars/', "enter")
        assert play.main.views.open.table.listing.order == ["mars.service"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("state:fialed", "no row has state:fialed; did you mean state:failed?"), ("state=activ", ""),
        ("is:dirfting", "no row has is:dirfting; did you mean is:drifting?"), ("target:zzz", ""),
        ("!state:fialed", ""), ("unit:fialed", ""), ("state:f*", ""), ("state:fail", ""), ("state:", ""),
    ],
)  # fmt: skip
def test_a_misspelt_word_where_there_are_few_is_told_with_what_may_be_meant(text: str, told: str) -> None:
    assert parse_query(text).complaint([row("a.service")]) == told

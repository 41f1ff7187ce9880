"""Any unit file and any name: options, problems or our own error, and work that grows as the text does."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from placement.eligibility import Site, ambiguity, conflict_pattern, fits, static_objections
from registry.errors import UserError
from registry.units.check import check, verify
from registry.units.file import UnitFile, description, file_hash, has_install, parse
from registry.units.hostreach import links, warnings
from registry.units.name import (
    escape_path,
    expand,
    expand_for_display,
    glob_refusal,
    matches,
    normalise,
    refusal,
    unescape,
)
from registry.units.name import parse as parse_name
from registry.units.options import ANYWHERE, check_options, parse_options, words
from tests.fuzz.test_fuzz_dbus import calls
from tests.registry import wild

pieces = st.sampled_from([
    "[Unit]", "[Service]", "[X-Fleet]", "[Install]", "[", "]", "[X-", "\n", "\r", "\r\n", "\\\n", "\\", "=", " ",
    "\t", "#", ";", '"', "'", "%", "%n", "%i", "%%", "*", "?", "[a-", "Conflicts=", "Replaces=", "MachineOf=",
    "Global=", "MachineMetadata=", "MachineID=", "ExecStart=", "Description=", "WantedBy=", "Alias=", "@", ".",
    "a@1.service", "zone=eu", "\0", "\x85", "\u2028", "\ufeff", "\ud800", "é", "true", "\\x2d", "X-Fleet",
])  # fmt: skip
texts = st.lists(pieces | st.text(max_size=3), max_size=30).map("".join)
names = st.lists(
    st.sampled_from(["a", "@", ".", ".service", ".mount", "\\x", "-", "%", "/", "\n", "é", "1" * 100]), max_size=6
).map("".join)


def read(text: str, name: str) -> None:
    """All that any program does with a unit file."""
    verify(name, text, "f")
    check(name, text, "f")
    warnings(name, text, "f") if refusal(name) is None else None
    try:
        file = parse(text)
    except UserError:
        return
    has_install(file)
    use(file, name)


def use(file: UnitFile, name: str) -> None:
    for step in (parse_options, description, links):
        with suppress(UserError):
            step(file, name)
    with suppress(UserError):
        check_options(file, name, "f")


@given(texts, names | st.sampled_from(wild.NAMES))
@example("[X-Fleet]\nConflicts=" + "[" * 200, "a.service")
def test_any_unit_file_is_read_or_refused(text: str, name: str) -> None:
    read(text, name)
    with suppress(UserError):
        assert file_hash(text)


@given(st.binary(max_size=60), st.sampled_from(wild.NAMES))
def test_any_bytes_are_checked(data: bytes, name: str) -> None:
    assert all(problem.line > 0 for problem in verify(name, data, "f"))


@given(names | st.text(max_size=20), texts)
def test_any_name_is_one_or_is_refused(name: str, text: str) -> None:
    normalise(name)
    unescape(name)
    escape_path(name)
    glob_refusal(name)
    matches(name, "a@1.service")
    if refusal(name) is None:
        parse_name(name)
        expand_for_display(text, name)
        with suppress(UserError):
            expand(text, name)
    else:
        with pytest.raises(UserError):
            parse_name(name)


@given(texts)
def test_any_list_is_split_or_refused(text: str) -> None:
    with suppress(UserError):
        assert all(isinstance(word, str) for word in words(text))


labels = st.text(max_size=5)
sites = st.builds(Site, st.sampled_from(wild.IDS), st.dictionaries(labels, labels, max_size=3))


@given(texts, sites, st.sampled_from(wild.NAMES))
def test_any_options_are_compared_with_any_machine_and_unit(text: str, site: Site, other: str) -> None:
    try:
        options = parse_options(parse(f"[X-Fleet]\n{text}"), "a@1.service")
    except UserError:
        return
    assert fits(options, site) == (not static_objections(options, site))
    ambiguity(options, wild.IDS)
    conflict_pattern("a@1.service", options, other, ANYWHERE)
    conflict_pattern("a@1.service", ANYWHERE, other, options)


@pytest.mark.parametrize(
    "piece",
    ["\n", " \n", "\\\n", "x\\\n", "#\n", "#\\\n", ";", "\\", "[X-a]\n", "[\n", "]", "A=\n", "A=1\n", "=",
     "[X-Fleet]\n", "[X-Fleet]\nConflicts=a.service\n", "Conflicts=a* b* c*\n", "Conflicts=[\n", '"', "'a ",
     "MachineMetadata=a=b\n",
     "%n", "%", "[Unit]\nDescription=%n%n\n", "ExecStart='\n", "ExecStart=\"\\\n", "\r", "\n\r", "\t", "\\\\", "é",
     "WantedBy=a.target\n", "[Install]\nAlias=%n\n", "a\n", "\0"],
)  # fmt: skip
@pytest.mark.parametrize(
    "start", ["", "[Service]\n", "[X-Fleet]\n", "[X-Fleet]\nConflicts=", "[Install]\nWantedBy="]
)
def test_twice_the_text_is_at_most_twice_the_work(start: str, piece: str) -> None:
    def work(count: int) -> int:
        text = start + piece * count
        return calls(lambda: read(text, "a@b.service"))

    work(10)  # patterns are remembered
    assert work(600) <= 2.5 * work(300) + 1500


@pytest.mark.parametrize(
    "pattern", ["*a" * 120, "*" * 250, "a*" * 120 + "b", "?*" * 120, "[a-z]*" * 40, "*a*" * 80 + "x"]
)
def test_a_pattern_of_many_stars_takes_no_longer_than_its_name(pattern: str) -> None:
    """Exponential time would never end; the time-out of the test is the bound."""
    for name in ("a" * 240 + ".service", "ab" * 120 + ".service"):
        for _ in range(50):
            matches(pattern, name)


def test_a_short_text_never_becomes_a_huge_one() -> None:
    name = f"{'n' * 240}.service"
    file = parse("[Unit]\nDescription=" + "%n" * 200_000 + "\n[X-Fleet]\nConflicts=" + "%n" * 200_000)
    assert len(description(file, name)) < 1_100_000
    with pytest.raises(UserError, match="characters"):
        parse_options(file, name)


def test_a_unit_that_names_very_many_is_refused_for_its_sake_and_that_of_all_others() -> None:
    with pytest.raises(UserError, match="more than 256 entries"):
        parse_options(parse("[X-Fleet]\nConflicts=" + " ".join(f"u{n}.service" for n in range(1000))), "a.service")
    assert len(parse_options(parse("[X-Fleet]\nConflicts=" + "u*.service " * 256), "a.service").conflicts) == 1

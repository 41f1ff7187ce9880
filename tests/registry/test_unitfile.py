"""Unit files: systemd's syntax, the exact text, what follows from it."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import UserError
from registry.units import file as unitfile

SAMPLE = """\
# The front door.
[Unit]
Description=Web server %i of %p
; an old comment

[Service]
Environment=A=1 B=2
ExecStart=/usr/bin/podman run \\
# why the port
  -p 80:80 \\
    nginx
ExecStartPre=-/bin/true
ExecStartPre=/bin/echo "x  y"
  RestartSec =  5

[Install]
WantedBy=multi-user.target
"""


def values(text: str, section: str, name: str) -> list[tuple[str, int]]:
    return [(entry.value, entry.line) for entry in unitfile.parse(text).options(section, name)]


@pytest.mark.parametrize(
    ("section", "name", "expected"),
    [
        ("Unit", "Description", [("Web server %i of %p", 3)]),
        ("Service", "Environment", [("A=1 B=2", 7)]),
        ("Service", "ExecStart", [("/usr/bin/podman run    -p 80:80      nginx", 8)]),
        ("Service", "ExecStartPre", [("-/bin/true", 12), ('/bin/echo "x  y"', 13)]),
        ("Service", "RestartSec", [("5", 14)]),
        ("Service", "Missing", []),
        ("Missing", "Name", []),
    ],
)
def test_options_with_their_lines(section: str, name: str, expected: list[tuple[str, int]]) -> None:
    assert values(SAMPLE, section, name) == expected


def test_order_and_sections_are_kept() -> None:
    read = unitfile.parse(SAMPLE)
    assert [entry.name for entry in read.entries] == [
        "Description",
        "Environment",
        "ExecStart",
        "ExecStartPre",
        "ExecStartPre",
        "RestartSec",
        "WantedBy",
    ]
    assert [(header.name, header.line) for header in read.sections] == [
        ("Unit", 2),
        ("Service", 6),
        ("Install", 16),
    ]
    assert read.text == SAMPLE
    assert not read.faults


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[A]\nx=1\r\nx=2\rx=3\n", [("1", 2), ("2", 3), ("3", 4)]),
        ("\ufeff[A]\nx=1", [("1", 2)]),
        ("[A]\nx=a\\\\\nx=b", [("a\\\\", 2), ("b", 3)]),
        ("[A]\nx=a\\", [("a", 2)]),
        ("[A]\nx=a\\\n;no\n#no\nb", [("a b", 2)]),
        ("[A]\nx=a \\\n\nx=b", [("a", 2), ("b", 4)]),
        ("[A]\nx=a # stays", [("a # stays", 2)]),
        ("[A]\nx='q' \"r\"", [("'q' \"r\"", 2)]),
        ("[A]\nx=a\u2028b\x0cc", [("a\u2028b\x0cc", 2)]),
        ("[A]\n\tx\t=\ta\t", [("a", 2)]),
        ("[A]\nx=1\n[B]\nx=no\n[A]\nx=2", [("1", 2), ("2", 6)]),
        ("[A]\nx=", [("", 2)]),
    ],
)
def test_systemds_syntax(text: str, expected: list[tuple[str, int]]) -> None:
    assert values(text, "A", "x") == expected


def test_an_empty_assignment_forgets_those_before() -> None:
    read = unitfile.parse("[A]\nx=1\ny=2\nx=\ny=3\nx=4\nz=1\nz=\n")
    assert [entry.value for entry in read.effective("A", "x")] == ["4"]
    assert [entry.value for entry in read.effective("A", "x", "y")] == ["3", "4"]
    assert read.value("A", "y") == "3"
    assert read.value("A", "z") == ""


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("x=1\n[A]\n", 1, "before any section"),
        ("[A]\nnonsense\n", 2, "has no ="),
        ("[A]\n=x\n", 2, "no name before its ="),
        ("# c\n[A\nx=1", 2, "not closed"),
    ],
)
def test_lines_that_systemd_drops_are_faults(text: str, line: int, says: str) -> None:
    (fault,) = unitfile.parse(text).faults
    assert fault.line == line
    assert says in fault.reason
    assert fault.remedy


def test_what_stands_before_any_section_is_said_once_and_read_by_nobody() -> None:
    read = unitfile.parse("a=1\nb=2\n[A]\nc=3\n")
    assert len(read.faults) == 1
    assert [entry.name for entry in read.entries] == ["c"]


def test_sections_of_others_are_free_text() -> None:
    assert not unitfile.parse("[X-Notes]\nremember the milk\n").faults
    assert unitfile.parse("[X-Fleet]\nremember the milk\n").faults


@given(st.text())
def test_the_text_stays_as_it_was(text: str) -> None:
    assert unitfile.parse(text).text == text


NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,9}", fullmatch=True)
VALUES = st.text(st.characters(exclude_characters="\\\r\n\0", exclude_categories=["Cs"])).map(
    lambda text: text.strip(" \t")
)


@given(st.lists(st.tuples(NAMES, VALUES)), st.sampled_from(["\n", "\r\n"]), st.sampled_from(["", "# c", "  ;c"]))
def test_what_is_written_is_read(pairs: list[tuple[str, str]], eol: str, comment: str) -> None:
    text = eol.join(["[A]", *(f"{comment}{eol}{name} = {value}" for name, value in pairs)])
    entries = unitfile.parse(text).entries
    assert [(entry.name, entry.value) for entry in entries] == pairs
    lines = text.split(eol)
    assert all(lines[entry.line - 1].startswith(entry.name) for entry in entries)


@given(st.text(st.sampled_from("[]=#;\\ \t\r\nXab'\"%"), max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    read = unitfile.parse(text)
    assert all(1 <= fault.line <= len(text) + 1 and fault.reason.isprintable() for fault in read.faults)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("piece", ["x", "\n", "[", "[\n", "\\\n", "a=\n", "\0", "é", " "])
def test_garbage_is_quick(piece: str) -> None:
    with pytest.raises(UserError, match="larger than"):
        unitfile.parse(piece * 10_000_000)
    assert len(unitfile.parse(piece * (unitfile.MAX_BYTES // 4)).faults) <= unitfile.MAX_FAULTS


def test_files_are_equal_when_their_texts_are() -> None:
    assert unitfile.parse(SAMPLE) == unitfile.parse(SAMPLE)
    assert hash(unitfile.parse(SAMPLE)) == hash(unitfile.parse(SAMPLE))
    assert unitfile.parse(SAMPLE) != unitfile.parse(SAMPLE + "#")


def test_the_hash_is_that_of_the_bytes() -> None:
    assert unitfile.file_hash("é\r\n") == hashlib.sha256("é\r\n".encode()).hexdigest()
    with pytest.raises(UserError, match="UTF-8"):
        unitfile.file_hash("\ud800")


def test_the_description_is_the_units_own_or_its_name() -> None:
    assert unitfile.description(unitfile.parse(SAMPLE), "web@7.service") == "Web server 7 of web"
    assert unitfile.description(unitfile.parse("[Service]\n"), "web@7.service") == "web@7.service"


@pytest.mark.parametrize(
    ("install", "enables"),
    [
        ("WantedBy=a.target", True),
        ("Alias=b.service", True),
        ("WantedBy=", False),
        ("WantedBy=a.target\nWantedBy=", False),
        ("DefaultInstance=1", False),
        ("", False),
    ],
)
def test_has_install(install: str, enables: bool) -> None:
    assert unitfile.has_install(unitfile.parse(f"[Install]\n{install}\n")) is enables


def test_a_problem_reads_as_one_line() -> None:
    assert str(unitfile.Problem("a.service", 3, "no", "do")) == "a.service:3: no; do"

"""The verdict at submit, held against systemd's own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.units import check as unitcheck
from registry.units import file as unitfile
from registry.units import name as unitname

RUN = "ExecStart=/bin/true"

GOOD = [
    ("a.service", f"[Service]\n{RUN}"),
    ("a@.service", f"[Unit]\nDescription=%i\n[Service]\n{RUN} %i\n[Install]\nWantedBy=multi-user.target"),
    ("a@1.service", f"# c\r\n[Service]\r\n{RUN}\r\n[X-Fleet]\r\nMachineMetadata=a=1"),
    ("bare.service", "[Service]\nExecStart=true"),
    ("prefixed.service", "[Service]\nExecStart=-@/bin/true argv0 x"),
    ("quoted.service", "[Service]\nExecStart=\"/bin/true\" 'a b' \"it's\" it\\'s"),
    ("steps.service", f"[Service]\nType=oneshot\n{RUN}\n{RUN}"),
    ("reset.service", f"[Service]\n{RUN}\nExecStart=\n{RUN}"),
    ("stop.service", "[Service]\nType=oneshot\nExecStop=/bin/true\nRemainAfterExit=yes"),
    ("implied.service", "[Service]\nExecStop=/bin/true\nRemainAfterExit=yes"),
    ("success.service", "[Unit]\nSuccessAction=exit\n[Service]\nType=oneshot"),
    ("bus.service", f"[Service]\nType=dbus\nBusName=org.example.A\n{RUN}"),
    ("notes.service", f"[X-Notes]\nfree text\n[Service]\n{RUN}"),
    ("every.timer", "[Timer]\nOnCalendar=daily\nUnit=a.service"),
    ("a.socket", "[Socket]\nListenStream=/run/a.sock"),
    ("clock.timer", "[Timer]\nOnClockChange=yes\nUnit=a.service"),
    ("w.path", "[Path]\nPathExists=/tmp/x\nUnit=a.service"),
    ("mnt-a.mount", "[Mount]\nWhat=/dev/null\nWhere=/mnt/a"),
    (r"mnt-a\x2db.mount", "[Mount]\nWhat=/dev/null\nWhere=/mnt//a-b/"),
    ("mnt-a.automount", "[Automount]\nWhere=/mnt/a"),
    ("dev-sda1.swap", "[Swap]\nWhat=/dev/sda1"),
    ("group.target", "[Unit]\nDescription=x"),
    ("part.slice", "[Slice]\nCPUWeight=10"),
]

# What systemd refuses as well, with the line to mend and a word of the reason.
REFUSED = [
    ("a.service", "[Unit]\nDescription=x", 1, "no ExecStart"),
    ("a.service", "[Unit]\n[Service]\nUser=root", 2, "no ExecStart"),
    ("a.service", f"[Service]\n{RUN}\nExecStart=", 3, "no ExecStart"),
    ("a.service", "[Service]\nType=oneshot\nRemainAfterExit=yes", 1, "no ExecStart"),
    ("a.service", "[Service]\nType=simple\nExecStop=/bin/true\nRemainAfterExit=yes", 1, "needs ExecStart"),
    ("a.service", "[Service]\nExecStop=/bin/true", 1, "ends at once"),
    ("a.service", f"[Service]\n{RUN}\n{RUN}", 3, "one ExecStart"),
    ("a.service", f"[Service]\nType=dbus\n{RUN}", 2, "needs BusName"),
    ("a.service", f"[Service]\nType=oneshot\nRestart=always\n{RUN}", 3, "not for Type=oneshot"),
    ("a.service", "[Service]\nExecStart=bin/true", 2, "neither absolute"),
    ("a.service", "[Service]\nExecStart=/bin/", 2, "a directory"),
    ("a.service", "[Service]\nExecStart=-", 2, "no program"),
    ("a.service", "[Service]\nExecStart=/bin/echo it's", 2, "quote without its partner"),
    ("a.service", f"[Service\n{RUN}", 1, "not closed"),
    ("a.timer", "[Timer]\nUnit=a.service", 1, "never elapses"),
    ("a.timer", "[Timer]\nOnCalendar=daily\nOnCalendar=", 3, "never elapses"),
    ("a.path", "[Path]\nUnit=a.service", 1, "watches nothing"),
    ("a.socket", "[Socket]\nAccept=no", 1, "listens on nothing"),
    ("mnt-a.mount", "[Mount]\nWhere=/mnt/a", 1, "no What"),
    ("mnt-a.mount", "[Mount]\nWhat=/dev/null\nWhere=/mnt/b", 3, "'mnt-b.mount'"),
    ("mnt-a.automount", "[Automount]\nWhere=/mnt/b", 2, "'mnt-b.automount'"),
    ("dev-sda1.swap", "[Swap]\nWhat=/dev/sda2", 2, "'dev-sda2.swap'"),
]

# What systemd passes over with a warning, or in silence, and nobody can have meant.
REFUSED_BY_US = [
    ("a.service", "", 1, "is empty"),
    ("a.service", " \n\n", 1, "is empty"),
    ("a.target", "# nothing", 1, "has no section"),
    ("a.service", f"{RUN}\n[Service]\n{RUN}", 1, "before any section"),
    ("a.service", f"[Service]\n{RUN}\nwhat", 3, "has no ="),
    ("a.service", f"[Service]\n{RUN}\n\xa0{RUN}", 3, "contains '\\xa0', and systemd drops the line"),
    ("a.service", f"[Service]\n{RUN}\nUser\u2060=root", 3, "is no option"),
    ("a.service", f"[Service]\n{RUN}\n[Install]\nWantedBy=a\x1b", 4, "contains '\\x1b'"),
    ("a.service", f"[Service]\n{RUN}\n[Install]\nAlias=b.service %i.x c", 4, "'c' ends in no unit type"),
    ("a.service", f"[Foo]\n[Service]\n{RUN}", 1, "unknown section 'Foo'"),
    ("a.service", f"[service]\n[Service]\n{RUN}", 1, "did you mean [Service]?"),
    ("a.service", f"[Service]\n{RUN}\n[Fleet]\nGlobal=true", 3, "did you mean [X-Fleet]?"),
    ("a.service", f"[Service]\n{RUN}\n[Socket]\n", 3, "does not belong in a service unit"),
    ("a.target", f"[Service]\n{RUN}", 1, "does not belong in a target unit"),
    ("a.service", f"[Service]\n{RUN}\n[X-Fleet]\nGlobl=1", 4, "did you mean Global?"),
    ("a b.service", f"[Service]\n{RUN}", 1, "contains ' '"),
    ("mnt-a.mount", "[Mount]\nWhat=/dev/null", 1, "no Where"),
    ("a.service", f"[Service]\n{RUN} \0", 2, "binary"),
    ("a.service", f"[Service]\n{RUN}\n\ud800", 3, "not UTF-8"),
    ("a.service", f"[Service]\n{RUN}\n" + "#" * unitfile.MAX_BYTES, 1, "larger than"),
    ("a.service", f"[Service]\n{RUN}\n" + "#é" * (unitfile.MAX_BYTES // 3 + 1), 1, "larger than"),
]


@pytest.mark.parametrize(("name", "text"), GOOD)
def test_good_files_pass(name: str, text: str) -> None:
    assert unitcheck.verify(name, text, name) == ()
    assert unitcheck.verify(name, text.encode(), name) == ()


@pytest.mark.parametrize(("name", "text", "line", "says"), REFUSED + REFUSED_BY_US)
def test_bad_files_are_refused_by_line(name: str, text: str, line: int, says: str) -> None:
    first, *_ = unitcheck.verify(name, text, "dir/file")
    assert (first.file, first.line) == ("dir/file", line)
    assert says in f"{first.reason}; {first.remedy}"
    assert str(first).isprintable()


def systemd_accepts(directory: Path, name: str, text: str) -> bool:
    (directory / "a.service").write_text(f"[Service]\n{RUN}\n")  # what timers and sockets activate
    file = directory / name
    file.write_text(text + "\n")
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(file)]
    return subprocess.run(command, capture_output=True, check=False, timeout=30).returncode == 0


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
@pytest.mark.parametrize(
    ("name", "text", "accepted"),
    [
        *((name, text, True) for name, text in GOOD if not unitname.parse(name).is_template),
        *((name, text, False) for name, text, _, _ in REFUSED),
    ],
)
def test_systemd_is_of_the_same_opinion(tmp_path: Path, name: str, text: str, accepted: bool) -> None:
    assert systemd_accepts(tmp_path, name, text) is accepted


def test_bytes_that_are_no_text() -> None:
    (problem,) = unitcheck.verify("a.service", b"[Service]\n\xff\xfe\n", "f")
    assert (problem.line, problem.reason) == (2, "the line is not UTF-8")
    (problem,) = unitcheck.verify("a.service", b"\x7fELF\0\0\n", "f")
    assert problem.reason == "the file is binary"


def test_problems_of_all_kinds_come_in_the_order_of_the_file() -> None:
    text = "[X-Fleet]\nGlobl=1\n[Service]\nExecStart=a/b\nnonsense\n[Foo]\n"
    assert [problem.line for problem in unitcheck.verify("a.service", text, "f")] == [2, 4, 5, 6]


def test_check_leaves_the_fleet_options_out() -> None:
    text = f"[Service]\n{RUN}\n[X-Fleet]\nGlobl=1\n"
    assert unitcheck.check("a.service", text, "f") == ()
    assert len(unitcheck.verify("a.service", text, "f")) == 1


SECTIONS = st.sampled_from(["[Unit]", "[Service]", "[X-Fleet]", "[Mount]", "[Foo]", "[X-FLEET]", "[", "]"])
OPTIONS = st.sampled_from(["ExecStart", "Type", "MachineOf", "Conflicts", "Where", "What", "Global", "\x1b"])
LINES = SECTIONS | st.builds("{}={}".format, OPTIONS, st.text(max_size=20)) | st.text(max_size=20)
TYPES = st.sampled_from([f"a.{kind}" for kind in unitname.TYPES])


@given(TYPES | st.text(max_size=20), st.lists(LINES, max_size=8).map("\n".join))
def test_any_text_is_judged_in_printable_lines(name: str, text: str) -> None:
    problems = unitcheck.verify(name, text, "f")
    assert list(problems) == sorted(problems, key=lambda problem: problem.line)
    assert all(str(problem).isprintable() and problem.remedy for problem in problems)


@given(st.binary(max_size=200))
def test_any_bytes_are_judged(data: bytes) -> None:
    unitcheck.verify("a.service", data, "f")


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "text",
    [
        "x" * 10_000_000,
        "[\n" * (1 << 19),
        "[X-Fleet]\n" + "a=\n" * (1 << 18),
        "[X-Fleet]\nMachineOf=" + "a " * (1 << 18),
        "[X-Fleet]\nConflicts=" + "*a" * (1 << 18),
        "[X-Fleet]\nMachineMetadata=" + " " * (1 << 19) + "'",
        "[Service]\nExecStart=" + "'\\" * (1 << 18),
        "[Service]\n" + "ExecStart=a/b\n" * (1 << 16),
    ],
    ids=lambda text: text[:24].replace("\n", " "),
)
def test_garbage_is_judged_quickly(text: str) -> None:
    assert 1 <= len(unitcheck.verify("a.service", text, "f")) <= unitfile.MAX_FAULTS

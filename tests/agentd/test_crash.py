"""What is kept of a unit that failed: bounded in every way, of that run alone, and never in anybody's way."""

from __future__ import annotations

import asyncio
import json
import sys

from hypothesis import given
from hypothesis import strategies as st

from agentd.crashes import read_journal
from agentd.pure.crash import (
    ALL_BYTES,
    LINE_BYTES,
    LINES,
    MACHINE_BURST,
    MACHINE_EVERY_S,
    UNIT_BURST,
    UNIT_EVERY_S,
    CrashLimits,
    journal_argv,
    kept_lines,
    pushes_out,
)
from registry.keys import Address, Table
from registry.model import Crash
from registry.records import decode, encode

RUN, OTHER = "a" * 32, "b" * 32


def entry(text: object, run: str | None = RUN, **fields: object) -> bytes:
    at = 1_790_000_000_000_000
    told = {"_SYSTEMD_INVOCATION_ID": run} if run else {}
    return json.dumps({"__REALTIME_TIMESTAMP": str(at), "MESSAGE": text, "_COMM": "web", **told, **fields}).encode()


def test_lines_are_read_in_order_with_who_said_them() -> None:
    output = b"\n".join([entry("one", PRIORITY="3", _PID="42"), b"garbage", entry("two", SYSLOG_IDENTIFIER="x")])
    lines, cut = kept_lines(output, RUN)
    assert lines == ((1_790_000_000.0, 3, 42, "web", "one"), (1_790_000_000.0, 6, 0, "x", "two"))
    assert not cut


def test_of_too_many_lines_the_newest_stay() -> None:
    lines, cut = kept_lines(b"\n".join(entry(str(number)) for number in range(LINES + 1)), RUN)
    assert (len(lines), lines[-1][4], cut) == (LINES, str(LINES), True)


def test_long_lines_and_too_many_bytes_are_cut() -> None:
    (line,), cut = kept_lines(entry("é" * LINE_BYTES), RUN)
    assert cut
    assert len(line[4].encode()) <= LINE_BYTES
    lines, cut = kept_lines(b"\n".join(entry("x" * 900) for _ in range(LINES)), RUN)
    assert cut
    assert sum(len(each[4]) for each in lines) <= ALL_BYTES
    assert kept_lines(entry(None), RUN)[0][0][4].startswith("[a line longer")
    assert kept_lines(entry([104, 105, 255]), RUN)[0][0][4] == "hi\ufffd"


@given(st.lists(st.text(max_size=3000) | st.none() | st.integers() | st.lists(st.integers(0, 300)), max_size=300))
def test_whatever_a_unit_writes_makes_a_record_of_bounded_size(texts: list[object]) -> None:
    lines, cut = kept_lines(b"\n".join(entry(text) for text in texts), RUN)
    record = Crash("m", "1790000000000-a.service", "core-1", lines=lines, cut=cut)
    value = encode(record)
    assert len(value) < 8 * ALL_BYTES  # a control character takes six bytes where it is written
    assert decode(Address(Table.CRASHES, "m", record.id), value) == record


def test_a_unit_that_crashes_for_ever_is_kept_seldom_and_each_run_once() -> None:
    limits, taken = CrashLimits(), 0
    for second in range(3600):
        taken += limits.take("loop.service", f"run{second}", float(second))
        assert not limits.take("loop.service", f"run{second}", float(second))
    assert taken <= UNIT_BURST + 3600 / UNIT_EVERY_S
    assert limits.take("other.service", "run", 3600.0)


def test_a_machine_whose_units_all_crash_is_bounded_as_a_whole() -> None:
    limits = CrashLimits()
    taken = sum(limits.take(f"u{number}.service", "run", number / 100) for number in range(5000))
    assert taken <= MACHINE_BURST + 50 / MACHINE_EVERY_S + 1


def test_lines_of_the_unit_are_asked_for_and_of_others_only_what_systemd_says_of_the_run() -> None:
    ours, about = f"_SYSTEMD_INVOCATION_ID={RUN}", f"INVOCATION_ID={RUN}"
    assert journal_argv(RUN, "system", 0)[-4:] == [ours, "+", "_PID=1", about]
    argv = journal_argv(RUN, "system", 0, "web.service")
    assert argv[-6:] == [ours, "+", "_PID=1", about, "+", "_SYSTEMD_UNIT=web.service"]


def test_a_run_whose_lines_later_ones_may_have_pushed_out_is_asked_for_by_itself() -> None:
    def written(*runs: tuple[str, int]) -> bytes:
        told = [run for run, count in runs for _ in range(count)]
        return b"\n".join(
            json.dumps({"__REALTIME_TIMESTAMP": str(at), "MESSAGE": "x", "_SYSTEMD_INVOCATION_ID": run}).encode()
            for at, run in enumerate(told)
        )

    def pushed_out(*runs: tuple[str, int]) -> bool:
        output = written(*runs)
        return pushes_out(output, kept_lines(output, RUN)[0])

    assert not pushed_out((RUN, 5))
    assert not pushed_out((OTHER, LINES - 4), (RUN, 5))
    assert not pushed_out((OTHER, 100), (RUN, 5), (OTHER, 96))
    assert pushed_out((RUN, 5), (OTHER, LINES - 4))
    assert pushed_out((OTHER, LINES + 1))


def test_a_line_that_names_no_run_is_of_the_run_around_it() -> None:
    """journald finds nobody to ask of a process that ended right after its last line."""
    by_systemd: dict[str, object] = {"_PID": "1", "_COMM": "systemd", "INVOCATION_ID": RUN}
    output = [
        entry("before", run=OTHER),
        entry("last words of the run before", run=None),
        entry("Started", "c" * 32, **by_systemd),
        entry("good morning", run=None),
        entry("last words", run=None, INVOCATION_ID=OTHER),
        entry("exited", None, **by_systemd),
        entry("the next run", run=OTHER),
        entry("of the next run", run=None),
    ]
    lines, _ = kept_lines(b"\n".join(output), RUN)
    assert [each[4] for each in lines] == ["Started", "good morning", "last words", "exited"]


def test_a_journal_that_is_missing_fails_or_never_ends_costs_the_lines_alone() -> None:
    async def read() -> list[tuple[bytes, str]]:
        return [
            await read_journal(["/nowhere/journalctl"]),
            await read_journal([sys.executable, "-c", "raise SystemExit(1)"]),
            await read_journal([sys.executable, "-c", "print('x')"]),
            await read_journal(["cat", "/dev/zero"]),
        ]

    missing, failed, well, endless = asyncio.run(read())
    assert missing == (b"", "cannot run /nowhere/journalctl: No such file or directory")
    assert failed == (b"", f"{sys.executable} ended with status 1")
    assert well == (b"x\n", "")
    assert "more than 4 MiB" in endless[1]

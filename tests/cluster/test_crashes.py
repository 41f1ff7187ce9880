"""What is left of a unit that failed: its last lines in the registry, bounded, whatever becomes of its machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from agentd.pure.crash import ALL_BYTES, LINE_BYTES, LINES, UNIT_BURST
from fleettui.demo.cluster import Cluster
from tests.cluster.fleet import Fleet
from tests.cluster.nodes import eventually, registry
from tests.cluster.terminal import Terminal

DIES = "[Service]\nExecStart=/bin/sh -c 'echo good morning; echo my last words >&2; exit 3'\n"
LOOPS = (
    "[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestart=always\nRestartSec=50ms\n"
    'ExecStart=/bin/sh -c \'yes "$(head -c 3000 /dev/zero | tr "\\\\0" x)" | head -n 400; exit 1\'\n'
)


def crashes(cluster: Cluster, unit: str) -> list[dict[str, Any]]:
    """What is kept of a unit, oldest first."""
    found = registry(cluster, "crashes/")
    return [json.loads(value) for key, value in sorted(found.items()) if key.endswith(f"-{unit}")]


def kept(cluster: Cluster, unit: str) -> dict[str, Any]:
    return eventually(f"the last lines of {unit}", lambda: crashes(cluster, unit))[-1]


def texts(record: dict[str, Any]) -> list[str]:
    return [line[4] for line in record.get("lines", ())]


def pinned(fleet: Fleet, node: str, text: str) -> str:
    return f"{text}[X-Fleet]\nMachineID={fleet.machine_id(node)}\n"


def test_the_last_lines_of_a_unit_that_fails_are_kept_and_only_of_that_run(
    cluster: Cluster, tmp_path: Path
) -> None:
    fleet = Fleet(cluster, tmp_path)
    fleet.fails("start", fleet.write("c-dies.service", DIES))
    record = kept(cluster, "c-dies.service")
    assert [each for each in texts(record) if each in ("good morning", "my last words")] == [
        "good morning",
        "my last words",
    ]
    assert any("status=3" in text for text in texts(record)), "what systemd said of it"
    assert (record["reason"], record["hostname"][:5], record.get("cut")) == ("exit code 3", "core-", None)
    fleet.fails("start", "c-dies.service")
    eventually("the second run's lines", lambda: len(crashes(cluster, "c-dies.service")) == 2)
    assert texts(crashes(cluster, "c-dies.service")[-1]).count("good morning") == 1


def test_a_crash_loop_writes_few_records_of_bounded_size(cluster: Cluster, tmp_path: Path) -> None:
    fleet = Fleet(cluster, tmp_path)
    fleet.ctl("start", "--no-block", fleet.write("c-loop.service", pinned(fleet, "core-1", LOOPS)))
    show = "systemctl show -P NRestarts c-loop.service"
    eventually("ten crashes", lambda: int(fleet.shell("core-1", show).strip() or 0) > 10, timeout_s=60)
    fleet.ctl("stop", "c-loop.service")
    record = kept(cluster, "c-loop.service")
    assert record["cut"]
    assert 0 < len(record["lines"]) <= LINES
    assert all(len(text.encode()) <= LINE_BYTES for text in texts(record))
    assert all(len(json.dumps(each)) < 2 * ALL_BYTES for each in crashes(cluster, "c-loop.service"))
    assert len(crashes(cluster, "c-loop.service")) <= UNIT_BURST


def test_a_journal_that_hangs_or_is_missing_harms_nothing(cluster: Cluster, tmp_path: Path) -> None:
    fleet = Fleet(cluster, tmp_path)
    fleet.shell("core-1", "mv /usr/bin/journalctl /usr/bin/journalctl.away")
    try:
        fleet.fails("start", fleet.write("c-mute.service", pinned(fleet, "core-1", DIES)))
        record = kept(cluster, "c-mute.service")
        assert record["missing"] == "cannot run journalctl: No such file or directory"
        assert record["reason"] == "exit code 3"
    finally:
        fleet.shell("core-1", "mv /usr/bin/journalctl.away /usr/bin/journalctl")
    journald = "systemctl kill --signal={} systemd-journald"
    fleet.shell("core-1", journald.format("STOP"))
    try:
        fleet.fails("start", fleet.write("c-hung.service", pinned(fleet, "core-1", DIES)))
        assert kept(cluster, "c-hung.service")["missing"] == "the journal has no line of it"
        fleet.start("c-well.service", text=pinned(fleet, "core-1", "[Service]\nExecStart=/bin/sleep infinity\n"))
    finally:
        fleet.shell("core-1", journald.format("CONT"))
    fleet.settled("c-well.service", 1)


def test_why_a_unit_crashed_on_a_machine_that_is_dead_now_is_answered_by_one_command(
    cluster: Cluster, tmp_path: Path
) -> None:
    fleet = Fleet(cluster, tmp_path)
    text = "[Service]\nExecStart=/bin/sh -c 'echo my last words; exit 7'\n"
    fleet.fails("start", fleet.write("c-dead.service", pinned(fleet, "core-3", text)))
    kept(cluster, "c-dead.service")
    cluster.node("core-3").crash()
    gone = fleet.machine_id("core-3")
    eventually("core-3 being lost", lambda: f"machines/{gone}" not in registry(cluster, "machines/"))
    shown = fleet.ctl("journal", "--lines", "200", "c-dead.service")
    assert "core-3(kept) sh[" in shown.stdout
    assert "]: my last words" in shown.stdout
    assert "c-dead.service failed on core-3 (exit code 7) at" in shown.stderr
    for columns, lines in ((80, 24), (140, 40)):
        console = Terminal.console(cluster, columns=columns, lines=lines)
        try:
            console.shows("c-dead.service", "2/3 machines")
            console.keys("j")  # one key: to the unit
            console.shows("my last words", "failed on core-3 (exit code 7)", "kept by its agent")
            console.keys("d", "l")
            console.shows("Journal", "Placement", "my last words")
            (tmp_path / f"{columns}x{lines}.txt").write_text(console.picture)
        finally:
            console.close()
    why = fleet.ctl("why", "c-dead.service").stdout
    assert "It failed on core-3 (exit code 7)" in why
    assert "fleetctl journal c-dead.service" in why

"""The comparison with other fleets: what it prints, whom it leaves out, and that rows measure what really runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.peers import packages
from bench.peers.__main__ import PEERS, main, measure, peers
from bench.peers.fleet import Fleet
from bench.peers.hosts import SIZE
from bench.peers.rows import ROWS, Field, Size
from bench.peers.table import Comparison, Line
from fleettui.demo import network
from fleettui.demo.layout import layout
from fleettui.demo.requirements import nodes_missing
from fleettui.demo.sweep import leftovers
from registry.errors import UserError

SMALL = Size(units=4, runs=2, rest_s=0.1)
TITLES = ("ours", "quick", "slow")
COMPARISON = Comparison(
    TITLES,
    [
        Line("start", "s", {"ours": 1.0, "quick": 0.5, "slow": 4.0}, "median of 3"),
        Line("stop", "s", {"ours": 1.0, "slow": 0.5}),
        Line("kill", "s", {"quick": 1.0, "slow": 2.0}),
        Line("rest", "%", {"ours": 0.0, "quick": 0.0, "slow": 1.0}),
    ],
    {"ours": "ours 1", "quick": "quick 2"},
)


class Local(Fleet):
    """Units that are processes of this host, so that rows can be measured without machines."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.nodes = {}
        self.services = ()
        self.units: list[subprocess.Popen[bytes]] = []
        self.known: set[str] = set()

    def up(self) -> None:
        assert not self.units

    def version(self) -> str:
        return f"{self.title} 1"

    def start(self, name: str) -> None:
        assert name not in self.known
        self.known.add(name)
        self.units.append(subprocess.Popen(["/bin/sleep", "infinity"]))

    def stop(self, name: str) -> None:
        assert name in self.known
        self.drop()

    def fill(self, count: int) -> None:
        for number in range(count):
            self.start(str(number))

    def confirm(self, count: int) -> None:
        assert self.alive() == count

    def drop(self) -> None:
        for each in self.units:
            each.kill()
            each.wait()

    def forget(self) -> None:
        self.units, self.known = [], set()

    def listing(self) -> str:
        return "".join(f"{each.pid} running\n" for each in self.units)

    def leader(self) -> str:
        raise UserError("it has no machines")

    def settle(self) -> None:
        assert not self.nodes

    def alive(self) -> int:
        return sum(each.poll() is None for each in self.units)


class Liar(Local):
    """Says that units run of which half do not."""

    def fill(self, count: int) -> None:
        super().fill(count)
        for each in self.units[: (count + 1) // 2]:
            each.kill()
            each.wait()

    def confirm(self, count: int) -> None:
        assert len(self.units) == count


def test_a_peer_that_is_better_is_marked_and_one_that_has_no_figure_is_not() -> None:
    assert COMPARISON.lost() == [("start", "quick"), ("stop", "slow")]
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in COMPARISON.markdown().splitlines()]
    assert rows[0] == ["work", "ours", "quick", "ratio", "slow", "ratio", "beside"]
    assert rows[2:] == [
        ["start", "1 s", "0.5 s", "2 !", "4 s", "0.25", "median of 3"],
        ["stop", "1 s", "-", "-", "0.5 s", "2 !", ""],
        ["kill", "-", "1 s", "-", "2 s", "-", ""],
        ["rest", "0 %", "0 %", "-", "1 %", "0", ""],
    ]


def test_columns_of_the_table_for_people_are_aligned() -> None:
    lines = COMPARISON.text().splitlines()
    ends = [line.index("slow") + len("slow") for line in lines[:1]]
    assert all(line[: ends[0]].rstrip().endswith(("4 s", "0.5 s", "2 s", "1 %")) for line in lines[1:])
    assert [line.count("!") for line in lines] == [0, 1, 1, 0, 0]


def test_json_tells_ratios_losses_and_versions(tmp_path: Path) -> None:
    COMPARISON.write(tmp_path / "peers.json", size={"units": 4})
    written = json.loads((tmp_path / "peers.json").read_text())
    assert written["versions"] == {"ours": "ours 1", "quick": "quick 2"}
    assert written["size"] == {"units": 4}
    assert written["taken"]["cpus"] >= 1
    assert [line["lost_to"] for line in written["lines"]] == [["quick"], ["slow"], [], []]
    assert written["lines"][0]["ratios"] == {"quick": 2.0, "slow": 0.25}
    assert written["lines"][1]["ratios"] == {"quick": None, "slow": 2.0}


def test_a_peer_without_apt_is_left_out_with_a_word(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    told: list[str] = []
    assert peers(tuple(PEERS), "peers", told.append) == []
    assert [line for line in told if "left out" in line] == [
        f"{name}: left out: its packages cannot be had: this host has no apt" for name in PEERS
    ]


def test_a_peer_whose_packages_fail_is_left_out_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(packages, "CACHE", tmp_path / "cache")
    for name, text in {"apt-get": "", "unshare": "echo 'E: Unable to locate package' >&2; exit 100\n"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    told: list[str] = []
    assert peers(["swarm"], "peers", told.append) == []
    assert "left out" in told[-1]
    assert told[-1].endswith("E: Unable to locate package")


def test_packages_are_fetched_once_and_anew_when_the_host_changes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    status, count = tmp_path / "status", tmp_path / "count"
    status.write_text("one\n")
    monkeypatch.setattr(packages, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(packages, "INSTALLED", status)
    made = f'echo x >>"{count}"\nwhile [ "$1" != sh ]; do shift; done\n: >"$3"\n'
    for name, text in {"apt-get": "", "unshare": made}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    first = packages.layer(["a"])
    assert packages.layer(["a"]) == first
    assert count.read_text() == "x\n"
    status.write_text("another\n")
    second = packages.layer(["a"])
    assert second != first
    assert second.exists()
    assert not first.exists()


def test_rows_are_measured_in_turns_and_nothing_is_left_running() -> None:
    told: list[str] = []
    fleets = Field([Local("ours"), Local("peer")], told.append)
    lines = measure(fleets, SMALL, ["one", "many"])
    works = [line.work for line in lines]
    assert "one start, confirmed" in works
    assert "4 gone, no process left: processor time" in works
    assert len(set(works)) == len(works) == 8
    assert all(line.values.keys() == {"ours", "peer"} for line in lines)
    assert all(value > 0 for line in lines for value in line.values.values() if "processor" not in line.work)
    assert fleets.failed == {}
    assert [fleet.alive() for fleet in fleets.fleets] == [0, 0]


def test_a_fleet_that_says_what_is_not_so_is_left_out_and_the_others_go_on() -> None:
    told: list[str] = []
    honest, liar = Local("honest"), Liar("liar")
    fleets = Field([honest, liar], told.append)
    try:
        lines = measure(fleets, SMALL, ["many", "list"])
        assert fleets.failed == {"liar": "it says that 4 units run, but 2 processes do"}
        assert "liar: left out from here on: it says that 4 units run, but 2 processes do" in told
        assert lines
        assert all(line.values.keys() == {"honest"} for line in lines)
        assert honest.alive() == SMALL.units
    finally:
        for each in (honest, liar):
            each.drop()


def test_a_row_that_one_fleet_cannot_do_ends_for_it_alone() -> None:
    told: list[str] = []
    fleet = Local("alone")
    fleets = Field([fleet], told.append)
    try:
        (line,) = measure(fleets, SMALL, ["kill"])
        assert line.values == {}
        assert fleets.failed == {"alone": "it has no machines"}
    finally:
        fleet.drop()


def test_rows_and_peers_are_chosen_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    for option, names in (("--only", ROWS), ("--peers", PEERS)):
        with pytest.raises(SystemExit) as ended:
            main([option, "nonsense"])
        assert ended.value.code == 2
        told = capsys.readouterr().err
        assert all(name in told for name in names)


@pytest.mark.cluster
@pytest.mark.skipif(bool(nodes_missing()), reason="makes a bridge on this host")
def test_what_a_killed_run_had_made_is_removed() -> None:
    where = layout("peerstest", SIZE)
    script = (
        "import time\n"
        "from bench.peers.clean import cleaned\n"
        "from fleettui.demo import network\n"
        "from fleettui.demo.layout import layout\n"
        f"with cleaned([{where.name!r}]):\n"
        f"    network.create_bridge(layout({where.name!r}, {SIZE}))\n"
        "    print('made', flush=True)\n"
        "    time.sleep(600)\n"
    )
    run = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert run.stdout is not None
    try:
        assert run.stdout.readline() == b"made\n"
        assert network.exists(where.bridge)
    finally:
        run.kill()
        run.wait()
        run.stdout.close()
    deadline = time.monotonic() + 60
    while leftovers(where) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert leftovers(where) == []

"""The measurements measure: every row of `make bench` on a handful of units. No time is judged here, only sense."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.__main__ import ROWS, main, measure
from bench.nodes import Nodes, Size
from bench.report import table, write_json
from fleettui.demo.cluster import Cluster
from tests.cluster.nodes import start_over

SMALL = Size(units=6, runs=1, rest_s=0.5, cut_s=5.0, outage_s=1.0, ttl_s=1.0)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def bench(cluster: Cluster, tmp_path: Path, told: list[str]) -> Nodes:
    return Nodes(cluster, tmp_path, told.append)


def test_every_row_of_a_quiet_cluster_has_a_figure(bench: Nodes, told: list[str], tmp_path: Path) -> None:
    figures = measure(bench, SMALL, ["start", "command", "many", "roll", "list", "rest", "leave"])
    assert not [line for line in told if "cannot" in line]
    assert len(figures) == 18
    assert all(figure.value >= 0 and figure.work in table(figures) for figure in figures)
    assert min(figure.value for figure in figures if figure.unit in ("s", "ms", "MiB")) > 0
    write_json(tmp_path / "figures.json", figures)
    assert len(json.loads((tmp_path / "figures.json").read_text())["figures"]) == 18


def test_no_fault_that_is_measured_harms_a_unit(bench: Nodes, told: list[str]) -> None:
    figures = measure(bench, SMALL, ["outage", "kill", "cut"])
    assert not [line for line in told if "cannot" in line]
    counts = {figure.work: figure.value for figure in figures if figure.unit != "s"}
    assert len(counts) == 3
    assert set(counts.values()) == {0}
    start_over(bench.cluster)


def test_rows_are_chosen_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--only", "nonsense"])
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert all(name in told for name in ROWS)

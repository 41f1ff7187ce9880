"""What contrib/ holds fits what the programs tell, and Prometheus takes it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from registry.program.measures import METRICS

CONTRIB = Path(__file__).parent.parent / "contrib"
BOARD = json.loads((CONTRIB / "grafana/fleet.json").read_text())
QUERIES = sorted({target["expr"] for panel in BOARD["panels"] for target in panel["targets"]})
RULES = CONTRIB / "prometheus/fleet.rules.yml"


def names_in(text: str) -> set[str]:
    return set(re.findall(r"\b(?:fleet|process)_\w+", text))


def told() -> set[str]:
    suffixes = ("", "_bucket", "_sum", "_count")
    return {each.queried + suffix for each in METRICS for suffix in suffixes} | {"process_resident_memory_bytes"}


def test_the_board_asks_only_for_what_is_told() -> None:
    assert len(QUERIES) > 20
    assert set().union(*map(names_in, QUERIES)) <= told()


def test_the_alerts_ask_only_for_what_is_told() -> None:
    assert names_in("\n".join(re.findall(r"expr: (.+)", RULES.read_text()))) <= told()


@pytest.mark.parametrize("arguments", ["check rules fleet.rules.yml", "test rules fleet.rules.test.yml",
                                       "check config scrape.yml"])  # fmt: skip
def test_promtool_passes_it(arguments: str) -> None:
    if shutil.which("promtool") is None and not os.environ.get("FLEET_REQUIRE_CLUSTER"):
        pytest.skip("promtool is not installed")
    command = ["promtool", *arguments.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=RULES.parent)
    assert done.returncode == 0, done.stdout + done.stderr

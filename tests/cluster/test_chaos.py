"""One minute of the chaos campaign, always the same one; `make chaos` runs it longer and with other seeds."""

from __future__ import annotations

import fcntl
import tempfile
from pathlib import Path

import pytest

from fleettui.demo.requirements import nodes_missing
from tests.chaos.__main__ import ARTIFACTS, campaign
from tests.chaos.faults import faketime_library
from tests.chaos.script import compose

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(420)]

SEED = 1


@pytest.mark.skipif(bool(nodes_missing()) or not faketime_library(), reason="cannot boot nodes, or no libfaketime")
def test_a_minute_of_chaos_violates_no_invariant(capsys: pytest.CaptureFixture[str]) -> None:
    with Path(tempfile.gettempdir(), "fleet-chaos.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        survived = campaign(compose(SEED, 60), "chaostest", ARTIFACTS / "chaos-minute")
    assert survived, capsys.readouterr().out

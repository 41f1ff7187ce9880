"""The units of a simulated machine answer its agent's health checks as they are."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from agentd.health import attempt
from registry.units.file import parse
from registry.units.health import read_check
from tests.simulation import crowd, ports
from tests.simulation.loop import SimulatedLoop
from tests.simulation.systemd import SimulatedSystemd
from tests.simulation.test_systemd_contract import Nobody

CHECKED = [name for name, kind in crowd.KINDS.items() if kind.checked]


@pytest.mark.parametrize("name", CHECKED)
@pytest.mark.parametrize(
    ("bad", "jammed", "told"), [(False, False, ""), (True, False, "from|refused"), (False, True, "no answer")]
)
def test_a_good_version_passes_its_check_and_a_bad_one_never(
    name: str, bad: bool, jammed: bool, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asyncio, "open_connection", asyncio.open_connection)  # for its end
    loop = SimulatedLoop(1)
    systemd = SimulatedSystemd(loop, "core-1", tmp_path, Nobody(), Random(1))
    ports.simulate(lambda: systemd)
    text = crowd.text(name, 5, bad=bad)
    (systemd.places[1] / name).write_text(text)
    systemd.start(name)
    systemd.jammed = jammed
    check = read_check(parse(text), name)
    assert check is not None
    asyncio.set_event_loop(loop)
    try:
        found = loop.run_until_complete(loop.spawn(loop.program("agent-1", "core-1"), attempt(check)))
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    assert found == "" if not told else any(each in found for each in told.split("|"))

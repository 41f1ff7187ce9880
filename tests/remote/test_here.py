"""When a command may run on this very host: never because a record says so."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fleettui.remote import LocalMachine, MachineUnreachable, Remote, own_machine
from fleettui.remote.here import BOOT_ID
from registry.model import Machine
from registry.program.config import EtcdTable
from tests.remote.conftest import Home

ETCD = EtcdTable(("http://127.0.0.1:23300",), prefix="fleet")
MACHINE = "f" * 32
HOLD = """
import sys, agentd.__main__ as agent
from pathlib import Path
from registry.program.config import EtcdTable
with agent._lock(Path(sys.argv[1]), EtcdTable((sys.argv[2],), prefix="/fleet/")):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def boot_id() -> str:
    return BOOT_ID.read_text().strip()


@pytest.fixture
def runtime(tmp_path: Path, boot_id: str) -> Path:
    """A user's runtime directory with what an agent remembers there."""
    directory = tmp_path / "run"
    (directory / "fleet").mkdir(mode=0o700, parents=True)
    directory.chmod(0o700)
    facts = {"machine": MACHINE, "boot_id": boot_id, "cluster_id": "c"}
    (directory / "fleet" / "agent.json").write_text(json.dumps(facts))
    return directory


@pytest.fixture
def agent(runtime: Path) -> Iterator[None]:
    """The agent's own way to hold its directory, in a process of its own."""
    command = [sys.executable, "-c", HOLD, str(runtime / "fleet"), "127.0.0.1:23300"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        yield
        process.kill()


def found(runtime: Path, etcd: EtcdTable = ETCD) -> LocalMachine | None:
    return own_machine(etcd, {"XDG_RUNTIME_DIR": str(runtime)})


def record(boot_id: str, **changes: object) -> Machine:
    machine = Machine(MACHINE, "laptop", "127.0.0.1", boot_id, ssh_port=9, bus="user")
    return replace(machine, **changes)  # type: ignore[arg-type]


async def test_a_record_alone_makes_no_command_run_here(home: Home, boot_id: str, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    async with Remote(home.ssh()) as remote:
        with pytest.raises(MachineUnreachable):
            await remote.run(record(boot_id), ["touch", str(mark)])
        assert await remote.interactive(record(boot_id), ["touch", str(mark)]) == 255
    assert not mark.exists()


@pytest.mark.usefixtures("agent")
def test_the_users_own_agent_of_the_same_registry_is_here(runtime: Path, boot_id: str) -> None:
    here = found(runtime)
    assert here
    assert here.means(record(boot_id))
    assert not here.means(record(boot_id, bus="system"))
    assert not here.means(record("another boot"))
    assert not here.means(record(boot_id, id="e" * 32))


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize(
    "other",
    [
        EtcdTable(("http://10.0.0.1:2379",), prefix="fleet"),
        EtcdTable(("http://127.0.0.1:23300", "http://10.0.0.1:2379"), prefix="fleet"),
        EtcdTable(("https://127.0.0.1:23300",), prefix="fleet"),
        EtcdTable(("http://127.0.0.1:23300",), prefix="other"),
        EtcdTable(("no endpoint at all://",), prefix="fleet"),
    ],
)
def test_a_registry_that_the_users_agent_does_not_obey_never_means_here(runtime: Path, other: EtcdTable) -> None:
    assert found(runtime) is not None
    assert found(runtime, other) is None


def test_an_agent_that_has_ended_is_no_proof(runtime: Path) -> None:
    lock = runtime / "fleet" / "agent.lock"
    lock.write_text(json.dumps({"endpoints": ["http://127.0.0.1:23300"], "prefix": "/fleet/"}))
    assert found(runtime) is None
    with lock.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert found(runtime) is not None


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"machine": 1}', "[" * 100_000, '{"machine": "f"}'])
def test_odd_facts_are_no_proof(runtime: Path, text: str) -> None:
    (runtime / "fleet" / "agent.json").write_text(text)
    assert found(runtime) is None


@pytest.mark.usefixtures("agent")
def test_files_that_others_may_write_are_no_proof(runtime: Path) -> None:
    assert found(runtime)
    (runtime / "fleet" / "agent.json").chmod(0o666)
    assert found(runtime) is None
    (runtime / "fleet" / "agent.json").chmod(0o600)
    runtime.chmod(0o777)
    assert found(runtime) is None


@pytest.mark.usefixtures("agent")
def test_files_of_another_user_or_elsewhere_are_no_proof(runtime: Path, tmp_path: Path) -> None:
    facts = runtime / "fleet" / "agent.json"
    if os.getuid() == 0:
        os.chown(facts, 65534, 65534)
        assert found(runtime) is None
    (tmp_path / "elsewhere").write_text(facts.read_text())
    facts.unlink()
    facts.symlink_to(tmp_path / "elsewhere")
    assert found(runtime) is None

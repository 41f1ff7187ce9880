"""Files that units need beside their own, on real machines: fetched over the bridge, and pushed over SSH."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from fleettui.demo.cluster import Cluster
from tests.cluster.fleet import Fleet
from tests.cluster.nodes import eventually
from tests.file_server import Server

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

PROGRAM = b"#!/bin/sh\nexec sleep infinity\n" + b"# padding\n" * 200_000
SHA = sha256(PROGRAM).hexdigest()
STORE = "/var/lib/fleet/artifacts"


@pytest.fixture
def server(cluster: Cluster) -> Iterator[Server]:
    with Server(PROGRAM, cluster.layout.host_address) as found:
        threading.Thread(target=found.serve_forever, args=(0.01,), daemon=True).start()
        yield found
        found.gate.set()
        found.shutdown()


def text(artifact: str) -> str:
    return f"[Service]\nExecStart=/run/fleet/artifacts/%n/server\n[X-Fleet]\nArtifact={artifact} name=server\n"


def test_a_program_is_fetched_and_pushed_and_outlives_a_killed_agent(
    cluster: Cluster, server: Server, tmp_path: Path
) -> None:
    fleet, (first, *_), nodes = Fleet(cluster, tmp_path), cluster.nodes.values(), len(cluster.nodes)
    fleet.write("web@.service", text(f"{server.url()} sha256={SHA}"))
    names = [f"web@{number}.service" for number in range(1, 2 * nodes + 1)]
    fleet.ctl("start", *(str(tmp_path / name) for name in names))
    assert {unit for _, unit in fleet.running("web@*.service")} == set(names)
    assert len(server.asked) == nodes  # one for each machine
    assert first.exec(["stat", "-c", "%a %U", f"{STORE}/{SHA}"]).stdout == "755 root\n"

    # An agent that is killed in the middle goes on where it was.
    for node in cluster.nodes.values():
        node.exec(["rm", f"{STORE}/{SHA}"])
    server.asked.clear()
    server.gate.clear()
    pinned = f"MachineMetadata=node={first.name.replace('core-', 'n')}\n"
    alone = fleet.write("alone.service", text(f"{server.url()} sha256={SHA}") + pinned)
    fleet.ctl("start", "--no-block", alone)
    eventually(
        "half of it is there",
        lambda: server.asked and int(first.exec(["stat", "-c", "%s", f"{STORE}/.{SHA}.part"]).stdout or 0) > 1000,
    )
    first.exec(["systemctl", "kill", "-s", "KILL", "fleet-agentd"])
    server.gate.set()
    eventually("it runs", lambda: fleet.running("alone.service"))
    assert server.asked[0] == ("/server", "")
    assert any(asked.startswith("bytes=") for _, asked in server.asked)

    # What cannot be had fails its unit with the reason, and no other.
    other = fleet.write("other.service", text(f"{server.url('/other')} sha256={SHA}").replace(SHA, "3" * 64))
    done = fleet.cluster.fleetctl("start", other, timeout_s=60)
    assert done.returncode == 1
    assert "has the sha256" in done.stderr + done.stdout
    assert fleet.running("alone.service")

    # One without an address is pushed; what was interrupted goes on.
    brought = b"#!/bin/sh\nexec sleep infinity\n" + b"# another\n" * 100_000
    hexdigits = sha256(brought).hexdigest()
    path = tmp_path / "server"
    path.write_bytes(brought)
    pushed = fleet.write("pushed.service", text(f"sha256={hexdigits}"))
    done = fleet.cluster.fleetctl("start", pushed, timeout_s=60)
    assert "bring it with fleetctl push" in done.stderr + done.stdout
    first.exec(["sh", "-c", f"head -c 5000 {STORE}/{SHA} > {STORE}/.{hexdigits}.push"])  # not even of this file
    wrong = fleet.cluster.fleetctl("push", str(path), timeout_s=60)
    assert "what arrived has another hash" in wrong.stderr
    done = fleet.ctl("push", str(path))
    assert done.stdout.count("has it already") == nodes - 1
    assert f"{len(brought)} of {len(brought)} bytes brought" in done.stdout
    assert f"Artifact=sha256={hexdigits} name=server" in done.stdout
    eventually("it runs", lambda: fleet.running("pushed.service"))

"""Hosts that no SSH reaches join by tokens: Debians that have nothing of ours, with no way but the bridge."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from fleettui.demo.process import Completed, run
from tests.cluster.nodes import eventually
from tests.documents import block
from tests.install.laptop import Laptop, laptop_with, of_units
from tests.install.roots import BareNode
from tests.install.test_join import traces

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

UNIT = "[Service]\nExecStart=/bin/sleep infinity\n\n[X-Fleet]\nMachineMetadata=disk=ssd\n"


@pytest.fixture(scope="module")
def laptop() -> Iterator[Laptop]:
    """A fleet of one host of Debian 13; a host of Debian 12 and two of 13 whose sshd does not run."""
    with laptop_with(("trixie", "bookworm", "trixie", "trixie")) as found:
        for node in found.hosts.nodes[1:]:
            node.exec(["systemctl", "mask", "--now", "ssh.service", "ssh.socket"])
        done = found.join(found.hosts.nodes[0], etcd=str(found.etcd))
        assert done.returncode == 0, done.stderr
        yield found


def made(laptop: Laptop, *flags: str) -> tuple[str, str]:
    """A token: its id, and the program for the host."""
    done = laptop("fleettui", "token", "create", "--out", "-", *flags)
    assert done.returncode == 0, done.stderr
    return done.stderr.split()[1], done.stdout


def documented(laptop: Laptop, name: str, number: int, token: str = "") -> Completed:
    """A command of docs/install.md, run in the laptop's home."""
    words = block("docs/install.md", name).commands[number].split()
    command: list[str | Path] = [
        Path(sys.prefix, "bin", words[0]),
        *(token if word == "TOKEN" else word for word in words[1:]),
    ]
    more = ["--yes"] if "approve" in words else []
    return run([*command, *more], timeout_s=200, check=False, environment=laptop.environ, directory=laptop.home)


@contextmanager
def running(node: BareNode, program: str) -> Iterator[subprocess.Popen[str]]:
    """A program at work on a host, by a command or read from its input; what it says is in its output."""
    leader = node.leader()
    inside = ["nsenter", "--target", str(leader), "-m", "-u", "-i", "-n", "-p", "-r", "-w", "env", "-i"]
    command, text = (program, "") if program.startswith("python3 ") else ("python3 -", program)
    with subprocess.Popen(
        [*inside, "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "sh", "-c", f"cd /root; echo $$; exec {command}"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        assert process.stdin
        assert process.stdout
        number = process.stdout.readline().strip()
        process.stdin.write(text)
        process.stdin.close()
        try:
            yield process
        finally:
            if process.poll() is None:
                node.exec(["kill", "-KILL", number])


def said(process: subprocess.Popen[str], words: str) -> str:
    """All that it says up to a line with these words."""
    assert process.stdout
    lines = []
    for line in process.stdout:
        lines.append(line)
        if words in line:
            return "".join(lines)
    raise AssertionError(f"no {words!r} in: {''.join(lines)}")


def ended(process: subprocess.Popen[str]) -> str:
    """What it says until it ends, and its exit code."""
    assert process.stdout
    text = process.stdout.read()
    return f"{text}exit {process.wait(60)}"


def approved(laptop: Laptop, node: BareNode, token: str, program: str) -> None:
    """Run a token's program on the host, and approve what it asks for."""
    with running(node, program) as process:
        said(process, "waiting to be let in")
        done = laptop("fleettui", "token", "approve", token, "--yes")
        assert done.returncode == 0, done.stderr
        assert ended(process).endswith("exit 0")


def machines(laptop: Laptop) -> dict[str, dict[str, str]]:
    listed = json.loads(laptop("fleetctl", "list-machines", "--json").stdout)
    return {each["ip"]: each["metadata"] for each in listed if each["state"] != "lost"}


def test_a_host_joins_by_a_file_that_is_handed_to_it(laptop: Laptop, tmp_path: Path) -> None:
    node = laptop.hosts.nodes[1]
    created = documented(laptop, "token", 0)
    assert created.returncode == 0, created.stderr
    token = created.stderr.split()[1]
    assert (laptop.home / "join").read_text().startswith("#!"), "so cloud-init runs it"
    shutil.copy2(laptop.home / "join", node.root.directory / "root/join")
    with running(node, block("docs/install.md", "host").commands[0]) as process:
        asked = said(process, "waiting to be let in")
        assert token in documented(laptop, "token", 2).stdout
        unasked = laptop("fleettui", "token", "approve", token)
        assert unasked.returncode == 1
        assert "add --yes" in unasked.stderr
        done = documented(laptop, "token", 1, token)
        assert done.returncode == 0, done.stderr
        assert f"{node.name} is a machine of the fleet fleet" in done.stdout
        told = ended(process)
        assert told.endswith("exit 0"), asked + told
    assert machines(laptop)[node.spec.address] == {"disk": "ssd"}
    assert not (node.root.directory / "var/lib/fleet-join").exists()
    (tmp_path / "there.service").write_text(UNIT)
    assert laptop("fleetctl", "start", str(tmp_path / "there.service")).returncode == 0
    assert node.exec(["systemctl", "is-active", "there.service"]).stdout == "active\n"
    listing = node.root.listing()
    assert {listing[f"etc/fleet/{each}"] for each in ("client.key", "agent.password")} == {"f 600 0 0"}
    assert node.spec.address in laptop.files.known_hosts.read_text()


def test_a_host_that_is_killed_while_it_joins_goes_on_and_the_laptop_lets_it_in(
    laptop: Laptop, tmp_path: Path
) -> None:
    node, path = laptop.hosts.nodes[2], tmp_path / "program"
    command = [str(Path(sys.prefix, "bin/fleettui")), "token", "create", "--wait", "--out", str(path)]
    with subprocess.Popen(command, env=laptop.environ, stderr=subprocess.PIPE, text=True) as waiting:
        assert waiting.stderr
        try:
            while "Waiting for it to ask" not in waiting.stderr.readline():
                assert waiting.poll() is None
            program = path.read_text()
            for words in ("waiting to be let in", "unpack fleettui"):
                with running(node, program) as process:
                    said(process, words)
            with running(node, program) as process:
                told = ended(process)
            assert told.endswith("exit 0"), told
            assert waiting.wait(90) == 0
        finally:
            waiting.kill()
    assert node.spec.address in machines(laptop)
    assert laptop("fleettui", "token", "list").stdout.count("\n") == 1, "used up: gone"


def test_used_revoked_and_expired_tokens_let_nobody_in_and_leave_nothing_behind(laptop: Laptop) -> None:
    node, there = laptop.hosts.nodes[3], laptop.hosts.nodes[2]
    before = {node.name: node.root.listing()}
    _, expiring = made(laptop, "--ttl", "1m")
    with running(node, expiring) as late:
        said(late, "waiting to be let in")
        token, program = made(laptop, "--machine", there.name)
        approved(laptop, there, token, program)
        with running(there, program) as replayed:
            assert "does not know this token" in ended(replayed)
        told = ended(late)
        assert "make another one: fleettui token create\nexit 1" in told, told
    token, program = made(laptop)
    with running(node, program) as process:
        said(process, "waiting to be let in")
        assert laptop("fleettui", "token", "revoke", token).returncode == 0
        assert "does not know this token" in ended(process)
    assert traces(node, before) == {}
    assert node.spec.address not in machines(laptop)


def test_a_machine_without_ssh_gets_another_certificate_and_its_units_do_not_notice(laptop: Laptop) -> None:
    node = laptop.hosts.nodes[1]
    ran = of_units(node, ["there.service"])
    agent = node.root.directory / "etc/fleet/client.pem"
    old = agent.read_bytes()
    agent.unlink()
    token, program = made(laptop, "--machine", node.name)
    approved(laptop, node, token, program)
    assert agent.read_bytes() != old
    assert of_units(node, ["there.service"]) == ran
    eventually("the agent has taken it up", partial(active, laptop, node), timeout_s=60, interval_s=1)


def test_machines_without_ssh_get_another_authority_and_their_units_do_not_notice(laptop: Laptop) -> None:
    nodes = laptop.hosts.nodes[1:3]
    ran = of_units(nodes[0], ["there.service"])
    rotate = ["access", "rotate", "--authority", *(word for node in nodes for word in ("--without", node.name))]
    done = laptop("fleetctl", *rotate)
    assert done.returncode == 0, done.stderr
    assert "fleettui token create --machine" in done.stdout
    for node in nodes:
        token, program = made(laptop, "--machine", node.name)
        approved(laptop, node, token, program)
    done = laptop("fleetctl", *rotate, "--yes")
    assert done.returncode == 0, done.stderr
    authority = laptop.files.authority()
    assert authority
    assert not authority.replaced
    for node in nodes:
        assert authority.signed((node.root.directory / "etc/fleet/client.pem").read_bytes())
        eventually(f"{node.name} is there", partial(active, laptop, node), timeout_s=60, interval_s=1)
    assert of_units(nodes[0], ["there.service"]) == ran


def active(laptop: Laptop, node: BareNode) -> bool:
    return node.spec.address in machines(laptop)

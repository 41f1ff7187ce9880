"""An operator's laptop, as a home of its own from which bare hosts are reached; and what the hosts are then."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from fleettui.demo.process import Completed, run
from fleettui.demo.requirements import nodes_missing
from fleettui.install.fleet_files import FleetFiles
from tests.cluster.conftest import free_name
from tests.documents import block
from tests.install.roots import LIVED_IN, ROOTS, BareHosts, BareNode, bare_hosts, debian

SERVICES = ("fleet-etcd", "fleet-scheduler", "fleet-agentd")


class Laptop:
    """An operator's home, from which the hosts are reached."""

    def __init__(self, home: Path, hosts: BareHosts, etcd: Path) -> None:
        self.home, self.hosts, self.etcd = home, hosts, etcd
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("FLEET", "XDG_", "SSH_"))}
        self.environ: Mapping[str, str] = kept | {"HOME": str(home), "XDG_CACHE_HOME": str(ROOTS.parent / "cache")}

    @property
    def files(self) -> FleetFiles:
        return FleetFiles(self.environ, "fleet")

    def __call__(self, program: str, *arguments: str, timeout_s: float = 200) -> Completed:
        return run(self.command(program, *arguments), timeout_s=timeout_s, check=False, environment=self.environ)

    def command(self, program: str, *arguments: str) -> list[str | Path]:
        return [Path(sys.prefix, "bin", program), *arguments]

    def killed(self, line: str, program: str, *arguments: str) -> bool:
        """Run a command and kill it as soon as it has printed this; False when it ended without."""
        return self.disturbed(line, lambda running: running.kill(), program, *arguments)[0] == -signal.SIGKILL

    def disturbed(
        self, line: str, fault: Callable[[subprocess.Popen[str]], None], program: str, *arguments: str
    ) -> tuple[int, str]:
        """Run a command, with a fault as soon as it has printed this; its exit code, and all that it prints."""
        command, printed, out, done = self.command(program, *arguments), "", subprocess.PIPE, False
        with subprocess.Popen(
            command, env=self.environ, stdout=out, stderr=subprocess.STDOUT, text=True
        ) as running:
            assert running.stdout
            for each in running.stdout:
                if line in each and not done:
                    fault(running)
                    done = True
                printed += each
        return running.returncode, printed

    def documented(self, page: str, name: str, number: int, *more: str) -> Completed:
        """Run a command of a page, with these hosts instead of those that it names."""
        words = block(page, name).commands[number].split()
        real = {f"root@{letter}": target(node) for letter, node in zip("abcd", self.hosts.nodes, strict=False)}
        real |= {f"root@{node.name}": target(node) for node in self.hosts.nodes}
        real |= {"d": self.hosts.nodes[3].name, "etcd-server_3.5.16-4_amd64.deb": str(self.etcd)}
        usual = "--accept-host-keys" if "join" in words else "--yes" if "leave" in words else "--no-legend"
        return self(*(real.get(word, word) for word in words), usual, *more)

    def join(self, *nodes: BareNode, **more: str) -> Completed:
        options = [word for key, value in more.items() for word in (f"--{key}", value)]
        return self("fleettui", "join", "--accept-host-keys", *options, *map(target, nodes))

    def machines(self) -> set[str]:
        """The host names of the machines that are registered."""
        return {each["hostname"] for each in json.loads(self("fleetctl", "list-machines", "--json").stdout)}


def target(node: BareNode) -> str:
    return f"root@{node.spec.address}"


def invocations(node: BareNode) -> str:
    return node.exec(["systemctl", "show", "--property=Id,InvocationID,NRestarts", *SERVICES]).stdout


def of_units(node: BareNode, names: Sequence[str]) -> str:
    """What would differ if one of these units had been touched."""
    return node.exec(["systemctl", "show", "--property=Id,ActiveState,InvocationID,NRestarts", *names]).stdout


def keys_of_the_laptop(home: Path, hosts: BareHosts, patch: pytest.MonkeyPatch) -> None:
    """Let this home log in to the hosts, and be the one of this process."""
    ssh = home / ".ssh"
    ssh.mkdir(mode=0o700)
    for each in ("id_ed25519", "id_ed25519.pub"):
        shutil.copy2(hosts.layout.state / each, ssh / each)
    patch.setenv("HOME", str(home))
    patch.delenv("SSH_AUTH_SOCK", raising=False)


@contextmanager
def laptop_with(suites: Sequence[str]) -> Iterator[Laptop]:
    """A laptop and booted hosts of these Debians that it may log in to.

    "bookworm" and "trixie" have nothing that a join does not need, "lived-in" is a trixie with apt and sudo.
    """
    if missing := nodes_missing():
        pytest.skip(f"cannot boot nodes: {'; '.join(missing)}")
    newer = debian("trixie", "etcd-server")
    ways = {"trixie": lambda: newer, "lived-in": lambda: debian("trixie", packages=LIVED_IN)}
    roots = [ways.get(suite, partial(debian, suite))() for suite in suites]
    etcd = next(newer.parent.glob("etcd-server*.deb"))
    with (
        tempfile.TemporaryDirectory() as home,
        pytest.MonkeyPatch.context() as patch,
        free_name() as name,
        bare_hosts(name, roots) as hosts,
    ):
        keys_of_the_laptop(Path(home), hosts, patch)
        yield Laptop(Path(home), hosts, etcd)

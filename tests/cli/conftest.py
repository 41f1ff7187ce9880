"""The real `fleetctl` as a process, against a real etcd whose records the tests write."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.fleet import Fleet
from tests.etcd_server import EtcdServer

PROGRAM = Path(sys.executable).with_name("fleetctl")


class Fleetctl:
    """Runs `fleetctl` as an operator who has nothing but what the test gives."""

    def __init__(self, home: Path, endpoint: str, prefix: str) -> None:
        self.home = home
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        self.environment = {
            **kept, "HOME": str(home), "TZ": "UTC", "FLEETCTL_ENDPOINT": endpoint, "FLEETCTL_PREFIX": prefix,
        }  # fmt: skip
        self.running: list[subprocess.Popen[str]] = []

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROGRAM, *arguments],
            env=self.environment | environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """The same, without waiting for its end."""
        process = subprocess.Popen(
            [PROGRAM, *arguments],
            env=self.environment | environment,
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.running.append(process)
        return process

    def write(self, name: str, text: str) -> Path:
        """A file in the operator's directory."""
        path = self.home / name
        path.write_text(text)
        return path

    def close(self) -> None:
        for process in self.running:
            process.kill()
            process.communicate()


@pytest.fixture
def fleetctl(etcd: EtcdServer, tmp_path: Path, prefix: str) -> Iterator[Fleetctl]:
    program = Fleetctl(tmp_path, etcd.endpoints[0], prefix)
    yield program
    program.close()


@pytest.fixture
def fleet(etcd: EtcdServer, prefix: str) -> Fleet:
    """A fleet of three machines and a leader, in the registry only."""
    fleet = Fleet(etcd, prefix)
    fleet.found()
    return fleet

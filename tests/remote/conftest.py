"""A home directory without the tester's own ssh, a key, and real sshd servers."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from registry.model import Machine
from registry.program.config import SshTable
from tests.remote.sshd import SSHD, Sshd, make_key

StartSshd = Callable[..., Sshd]


@dataclass(frozen=True)
class Home:
    """The user's ~/.ssh in a test, with one key that is not a default one."""

    path: Path
    identity: Path
    public: str

    def ssh(self, **changes: object) -> SshTable:
        return SshTable(**({"identity_files": (str(self.identity),), "timeout": 8.0} | changes))  # type: ignore[arg-type]

    def write(self, name: str, text: str) -> Path:
        file = self.path / ".ssh" / name
        file.write_text(text)
        return file


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    path = tmp_path / "home"
    (path / ".ssh").mkdir(parents=True, mode=0o700)
    monkeypatch.setenv("HOME", str(path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    identity = path / ".ssh" / "fleet_key"
    return Home(path, identity, make_key(identity))


@pytest.fixture
def start_sshd(tmp_path: Path, home: Home) -> Iterator[StartSshd]:
    """Start servers with extra lines of sshd_config; they end with the test."""
    if not SSHD:
        pytest.skip("no sshd is installed")
    numbers = itertools.count(1)
    with contextlib.ExitStack() as stack:

        def start(*options: str, authorized: str = "") -> Sshd:
            server = Sshd(tmp_path / f"sshd{next(numbers)}", authorized or home.public, *options)
            return stack.enter_context(server)

        yield start


def machine(server: Sshd, *, name: str = "core-1", keys: tuple[str, ...] | None = None) -> Machine:
    """The machine that a server stands for, as its agent would register it."""
    host_keys = (server.host_key,) if keys is None else keys
    return Machine(
        id=name.replace("-", "") + "0" * 24,
        hostname=name,
        address="127.0.0.1",
        boot_id="boot",
        ssh_port=server.port,
        host_keys=host_keys,
    )

"""A real OpenSSH server on a loopback port, with its own keys and configuration, for tests alone."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

from tests.etcd_server import free_ports

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/bin:/sbin") or ""


def make_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> str:
    """A new key pair; returns the public half without its comment."""
    path.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", path.name, "-f", str(path)], check=True)
    return " ".join(path.with_name(path.name + ".pub").read_text().split()[:2])


WITHIN_S = 60.0


class Sshd:
    """One server; `host_key` is what it shows. Use it as a context manager."""

    def __init__(self, directory: Path, authorized: str, *options: str) -> None:
        self.directory = directory
        (self.port,) = free_ports(1)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.host_key = make_key(directory / "host_key")
        (directory / "authorized_keys").write_text(authorized + "\n")
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def known_hosts_line(self) -> str:
        return f"[127.0.0.1]:{self.port} {self.host_key}\n"

    def change_host_key(self) -> str:
        """Show another key from the next start on; returns the old one."""
        old, self.host_key = self.host_key, make_key(self.directory / "host_key")
        return old

    def start(self) -> None:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        config = self.directory / "sshd_config"
        config.write_text("\n".join([*self._settings(), *self._options]) + "\n")
        log = (self.directory / "log").open("ab")
        with log:
            self._process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(config)], stderr=log, stdout=log)
        self._await_port()

    def stop(self) -> None:
        """End it with all its sessions, and wait until the port is free."""
        if self._process:
            self._process.send_signal(signal.SIGSTOP)  # what it forks now would inherit the port
            self.kill_sessions()
            self._process.kill()
            self._process.wait()
            self._process = None
            self._await_free_port()

    def kill_sessions(self) -> None:
        """Break every connection, as a crash would: the server itself stays."""
        assert self._process is not None
        sessions = [each for child in self.children() for each in (child, *_below(child))]
        subprocess.run(["kill", "-9", *map(str, sessions)], check=False, stderr=subprocess.DEVNULL)

    def children(self) -> list[int]:
        """One process for each connection."""
        assert self._process is not None
        return _children(self._process.pid)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _settings(self) -> list[str]:
        return [
            "ListenAddress 127.0.0.1",
            f"Port {self.port}",
            f"HostKey {self.directory}/host_key",
            f"AuthorizedKeysFile {self.directory}/authorized_keys",
            f"PidFile {self.directory}/pid",
            "StrictModes no",
            "UsePAM no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin yes",
        ]

    def _await_free_port(self) -> None:
        deadline = time.monotonic() + WITHIN_S
        while True:
            try:
                socket.create_server(("127.0.0.1", self.port)).close()
            except OSError:
                assert time.monotonic() < deadline, f"port {self.port} stays taken"
                time.sleep(0.02)
            else:
                return

    def _await_port(self) -> None:
        deadline = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError((self.directory / "log").read_text())


def _children(pid: int) -> list[int]:
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:  # it has ended meanwhile
        return []


def _below(pid: int) -> list[int]:
    """The server's own processes below one of a connection: OpenSSH 9.8 and later keep the connection there."""
    own = [each for each in _children(pid) if _is_server(each)]
    return [found for each in own for found in (each, *_below(each))]


def _is_server(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sshd")
    except OSError:  # it has ended meanwhile
        return False

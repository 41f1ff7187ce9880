"""Bare hosts: roots of Debian that have nothing of ours, booted as nodes on a bridge without a way out."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from fleettui.demo import network
from fleettui.demo.layout import ClusterLayout, NodeSpec, layout
from fleettui.demo.node import Node
from fleettui.demo.nodefiles import NETWORK_UNIT
from fleettui.demo.noderoot import NodeRoot, generate_key
from fleettui.demo.process import run
from fleettui.demo.sweep import is_mounted, leftovers, sweep

ROOTS = Path(__file__).parent.parent / "artifacts/roots"
PACKAGES = ("systemd", "systemd-sysv", "dbus", "openssh-server", "python3", "iproute2")
LIVED_IN = (*PACKAGES, "apt", "sudo")
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")
MASKED = (
    "systemd-timesyncd",
    "getty@",
    "console-getty",
    "fstrim.timer",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
)


def mirror() -> str:
    """Where this machine's own apt takes Debian's packages from."""
    files = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    words = [word for file in files if file.is_file() for word in _uncommented(file.read_text())]
    found = (word for word in words if word.startswith("http") and word.rstrip("/").endswith("/debian"))
    mirror = next(found, "")
    if not mirror:
        pytest.fail("apt's sources name no mirror of Debian to build roots from: no URL there ends in /debian")
    return mirror.rstrip("/")


def _uncommented(text: str) -> list[str]:
    return [word for line in text.splitlines() if not line.lstrip().startswith("#") for word in line.split()]


def debian(suite: str, fetch: str = "", packages: Sequence[str] = PACKAGES) -> Path:
    """The root of a fresh Debian, built once; of the package `fetch` the .deb lies beside it, not installed."""
    recipe = hashlib.sha256(repr((suite, packages, fetch, LEFT_OUT)).encode()).hexdigest()[:8]
    built = ROOTS / f"{suite}-{recipe}"
    ROOTS.mkdir(parents=True, exist_ok=True)
    with (ROOTS / f".{suite}-{recipe}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            fresh = built.with_name(f"{built.name}.new")
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir()
            hook = f'cd "$1/.." && APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get download {fetch}'
            run(
                [
                    "mmdebstrap", "--quiet", "--variant=essential", f"--include={','.join(packages)}",
                    *(f"--dpkgopt=path-exclude={each}" for each in LEFT_OUT),
                    *([f"--customize-hook={hook}"] if fetch else []),
                    suite, fresh / "root", mirror(),
                ],
                timeout_s=400,
            )  # fmt: skip
            fresh.rename(built)
    return built / "root"


class BareRoot(NodeRoot):
    """The root of one bare host: a view of a fresh Debian, with a name, an address and a key that may log in."""

    def __init__(self, spec: NodeSpec, layout: ClusterLayout, below: Path) -> None:
        super().__init__(spec, layout)
        self.below = below

    def prepare(self, ttl: str, credentials: Mapping[str, str]) -> None:  # noqa: ARG002 - nobody asks for it here
        """Write what an installer of the system would have written, and mount the root."""
        upper, work = self.home / "upper", self.home / "work"
        for path in (upper, work, self.directory):
            path.mkdir(parents=True)
        key = self.layout.state / "hostkeys" / self.spec.name
        generate_key(key, self.spec.name)
        files = {
            "etc/machine-id": (f"{self.spec.machine_id}\n", 0o444),
            "etc/hostname": (f"{self.spec.name}\n", 0o644),
            "etc/hosts": (f"127.0.0.1 localhost\n{self.spec.address} {self.spec.name}\n", 0o644),
            "etc/ssh/host_key": (key.read_text(), 0o600),
            "etc/ssh/host_key.pub": (key.with_suffix(".pub").read_text(), 0o644),
            "etc/ssh/sshd_config.d/test.conf": ("HostKey /etc/ssh/host_key\nUsePAM no\nUseDNS no\n", 0o644),
            "root/.ssh/authorized_keys": ((self.layout.state / "id_ed25519.pub").read_text(), 0o600),
            "etc/systemd/system/test-network.service": (NETWORK_UNIT.format(address=self.spec.address), 0o644),
        }
        for name, (text, mode) in files.items():
            path = upper / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(mode)
        (upper / "root").chmod(0o700)
        (upper / "root/.ssh").chmod(0o700)
        units = upper / "etc/systemd/system"
        (units / "multi-user.target.wants").mkdir()
        (units / "multi-user.target.wants/test-network.service").symlink_to("../test-network.service")
        for each in MASKED:
            (units / (each if "." in each else f"{each}.service")).symlink_to("/dev/null")
        options = f"lowerdir={self.below},upperdir={upper},workdir={work}"
        run(["mount", "-t", "overlay", f"fleet-{self.spec.machine}", "-o", options, self.directory])

    def listing(self) -> dict[str, str]:
        """Every file of the host as it is on its disk: kind, mode, owner and size by path."""
        found = run(["find", ".", "-xdev", "-printf", "%P %y %m %U %G\\n"], directory=self.directory).stdout
        return dict(line.split(" ", 1) for line in found.splitlines())


class BareNode(Node):
    """A host that sees nothing of ours."""

    root: BareRoot

    def __init__(self, spec: NodeSpec, layout: ClusterLayout, below: Path) -> None:
        super().__init__(spec, layout)
        self.root = BareRoot(spec, layout, below)

    def programs(self) -> list[Path]:
        return []


class BareHosts:
    """Hosts on a bridge of their own, each of its Debian."""

    def __init__(self, name: str, roots: Sequence[Path]) -> None:
        self.layout = layout(name, len(roots))
        self.nodes = [
            BareNode(spec, self.layout, below) for spec, below in zip(self.layout.nodes, roots, strict=True)
        ]


@contextmanager
def bare_hosts(name: str, roots: Sequence[Path]) -> Iterator[BareHosts]:
    """The hosts, booted and answering SSH; gone afterwards."""
    hosts = BareHosts(name, roots)
    where = hosts.layout
    sweep(where)
    where.state.mkdir(parents=True)
    try:
        run(["mount", "-t", "tmpfs", "-o", "mode=0711,size=50%", f"fleet-{name}", where.state])
        for each in ("nodes", "hostkeys"):
            (where.state / each).mkdir(mode=0o700)
        network.create_bridge(where)
        generate_key(where.state / "id_ed25519", "operator")
        for node in hosts.nodes:
            assert not is_mounted(node.root.directory)
            node.root.prepare("", {})
            node.boot()
        for node in hosts.nodes:
            node.wait_ready()
        yield hosts
    finally:
        sweep(where)
        left = leftovers(where)
    assert not left, left


def offer(node: BareNode, package: Path, *, spoilt: bool = False) -> None:
    """Let the host's apt offer a package, as an archive would; `spoilt`: of other bytes than were told."""
    where = node.root.directory / "srv/packages"
    where.mkdir(exist_ok=True)
    content = package.read_bytes()
    told = run(["dpkg-deb", "--field", package]).stdout.strip()
    told += f"\nFilename: ./{package.name}\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n"
    (where / "Packages").write_text(told)
    (where / package.name).write_bytes(content[:-1] + b"?" if spoilt else content)
    (node.root.directory / "etc/apt/sources.list").write_text("deb [trusted=yes] file:/srv/packages ./\n")
    updated = node.exec(["apt-get", "update"], timeout_s=60)
    assert updated.returncode == 0, updated.stderr

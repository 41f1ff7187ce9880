"""A node's root directory: a copy-on-write view of a system, this host's as a rule, with the node's own files."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

import fleettui
from fleettui.demo import nodefiles
from fleettui.demo.layout import ClusterLayout, NodeSpec
from fleettui.demo.process import run
from fleettui.services import unit_files
from registry.program.version import installed_version

PROPAGATE = Path("/run/systemd/nspawn/propagate")
LOCKS = Path("/run/systemd/nspawn/locks")
PROJECT = "opt/fleet"  # of another system: where its Python finds our version
OPAQUE = "trusted.overlay.opaque"  # see the kernel's Documentation/filesystems/overlayfs


@dataclass(frozen=True, slots=True)
class System:
    """What nodes are a view of: this host's root, or another one with the Python packages that our programs need.

    `packages` is a directory of this host; nodes of the host's own root use the environment that runs us.
    """

    root: Path = Path("/")
    packages: Path | None = None

    @property
    def is_host(self) -> bool:
        """Whether nodes are a view of this host."""
        return self.packages is None

    @property
    def python(self) -> str:
        """The interpreter of a node that finds our packages."""
        return sys.executable if self.is_host else "/usr/local/bin/python"

    def programs(self) -> list[Path]:
        """The directories of this host that a node must see to run our programs."""
        project = Path(fleettui.__file__).resolve().parent.parent
        return program_directories() if self.packages is None else [project, self.packages]

    def places(self) -> list[str]:
        """Where the Python of another system finds our programs; the project is read where it is."""
        return [*map(str, self.programs()), f"/{PROJECT}"]

    def command(self, name: str) -> str:
        """A program of ours as a script for the Python of another system."""
        (point,) = entry_points(group="console_scripts", name=name)
        return (
            f"#!/usr/bin/python3\nimport sys\nsys.path[:0] = {self.places()!r}\n"
            f"from {point.module} import {point.attr}\nsys.exit({point.attr}())\n"
        )


HOST = System()


class NodeRoot:
    """Where one node's files lie on this host."""

    def __init__(self, spec: NodeSpec, layout: ClusterLayout, system: System = HOST) -> None:
        self.spec = spec
        self.layout = layout
        self.system = system
        self.home = layout.state / "nodes" / spec.name
        self.directory = self.home / "root"

    def prepare(self, ttl: str, credentials: Mapping[str, str]) -> None:
        """Write the node's own files and mount its root. `credentials` let its programs into the registry."""
        upper, work = self.home / "upper", self.home / "work"
        for path in (upper, work, self.directory):
            path.mkdir(parents=True)
        upper.chmod(0o755)
        for name in nodefiles.HIDDEN:
            (upper / name).mkdir(parents=True, exist_ok=True)
            os.setxattr(upper / name, OPAQUE, b"y")
        (upper / "root").chmod(0o700)
        units = unit_files(Path("/usr/local/bin"))
        key = self.layout.state / "hostkeys" / self.spec.name
        generate_key(key, self.spec.name)
        operator = (self.layout.state / "id_ed25519.pub").read_text()
        keys = nodefiles.NodeKeys(key.read_text(), key.with_suffix(".pub").read_text(), operator)
        found = nodefiles.files(self.spec, self.layout, keys, units, ttl, credentials)
        for name, file in found.items():
            _write(upper / name, file)
        for name in units:
            _write(
                upper / f"etc/systemd/system/{name}.d/programs.conf",
                nodefiles.File(seen_by_services(self.system.programs())),
            )
        systemd = self.system.root / "usr/lib/systemd"
        offered = {each.name for each in systemd.glob("system/*.wants/*")}
        generators = sorted(each.name for each in (systemd / "system-generators").iterdir())
        links = nodefiles.links(offered, generators)
        if self.system.is_host:
            links |= nodefiles.commands()
        else:
            for name in nodefiles.PROGRAMS:
                _write(upper / f"usr/local/bin/{name}", nodefiles.File(self.system.command(name), 0o755))
            python = f'#!/bin/sh\nPYTHONPATH={":".join(self.system.places())} exec /usr/bin/python3 "$@"\n'
            _write(upper / self.system.python.lstrip("/"), nodefiles.File(python, 0o755))
            told = f"Metadata-Version: 2.1\nName: fleettui\nVersion: {installed_version()}\n"
            _write(upper / f"{PROJECT}/fleettui.dist-info/METADATA", nodefiles.File(told))
        for name, target in links.items():
            (upper / name).parent.mkdir(parents=True, exist_ok=True)
            (upper / name).symlink_to(target)
        rows = [line.split(":") for line in (self.system.root / "etc/shadow").read_text().splitlines() if line]
        disabled = "".join(":".join([name, "*", *rest]) + "\n" for name, _, *rest in rows)  # root is open to keys
        _write(upper / "etc/shadow", nodefiles.File(disabled, 0o600))
        options = f"lowerdir={self.system.root},upperdir={upper},workdir={work}"
        run(["mount", "-t", "overlay", f"fleet-{self.spec.machine}", "-o", options, self.directory])

    def host_key(self) -> str:
        """The machine's public SSH host key."""
        return (self.layout.state / "hostkeys" / f"{self.spec.name}.pub").read_text()


def generate_key(path: Path, comment: str) -> None:
    """Make an SSH key pair, readable by its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path])


def program_directories() -> list[Path]:
    """What a node must see of this host to run the programs: project, virtual environment, interpreter."""
    interpreter = Path(sys.executable).resolve().parent.parent
    project = Path(fleettui.__file__).resolve().parent.parent
    wanted = {project, Path(sys.prefix), Path(sys.base_prefix), interpreter}
    outside = {path for path in wanted if path not in {Path("/usr"), Path("/")}}
    return sorted(path for path in outside if not outside & set(path.parents))


def seen_by_services(programs: Iterable[Path]) -> str:
    """A drop-in: what of our programs' directories services have to see though they have a /tmp of their own."""
    hidden = [path for path in programs if {Path("/tmp"), Path("/var/tmp")} & set(path.parents)]  # noqa: S108
    return "".join(["[Service]\n", *(f'BindReadOnlyPaths="{path}"\n' for path in hidden)])


def _write(path: Path, file: nodefiles.File) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(file.mode)
    path.write_text(file.text)
    path.chmod(file.mode)


def remove_traces(machine: str, root: Path) -> None:
    """Remove what systemd-nspawn leaves behind when it is killed: a mount tunnel and a lock."""
    shutil.rmtree(PROPAGATE / machine, ignore_errors=True)
    if root.exists():
        found = root.stat()
        (LOCKS / f"inode-{found.st_dev}:{found.st_ino}").unlink(missing_ok=True)

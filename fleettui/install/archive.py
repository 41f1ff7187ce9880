"""The programs and the libraries that a host needs, in one archive for each Python version and architecture.

Made on this laptop, kept below ~/.cache/fleet, and unpacked on the host, which needs no compiler, no index and no
tool of Python's. The libraries are what the agent and the scheduler require, as wheels that pip has chosen for the
host's Python; our own packages are those that run here. The same input makes the same bytes.

    bin/fleet-agentd, bin/fleet-scheduler    lib/    units/    (and once it is whole, on the host: complete)

Blocks: call it in a thread.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email import message_from_bytes
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path, PurePosixPath

from fleettui.services import moved, unit_files
from registry.errors import UserError
from registry.program.version import installed_version

BIN = Path("/opt/fleet/current/bin")  # where a host has the programs
PACKAGES = ("registry", "placement", "scheduler", "agentd")
PROGRAMS = {"fleet-agentd": "agentd", "fleet-scheduler": "scheduler"}
MACHINES = {62: "x86_64", 183: "aarch64"}
ARCHITECTURES = tuple(MACHINES.values())
GLIBC = ("2_17", "2_24", "2_26", "2_27", "2_28", "2_31", "2_34", "2_35")  # Debian 12 has 2.36
# What the client library requires and nothing of ours ever loads (`registry.etcd.library`): two thirds of it all.
LEFT_OUT = {
    "certifi",
    "charset_normalizer",
    "pyopenssl",
    "requests",
    "urllib3",
}
UNUSED = (".pyi", ".pyx", ".pxd", ".c", ".h", ".pyc")
PIP_TIMEOUT_S = 600
# -P: not what happens to lie beside it; -s: nothing of a user's.
LAUNCHER = """\
#!/usr/bin/env -S python{python} -sP
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "lib"))
from {package}.__main__ import main
sys.exit(main())
"""


def cache_directory(environ: Mapping[str, str]) -> Path:
    """Where archives are kept."""
    home = environ.get("XDG_CACHE_HOME") or f"{environ.get('HOME', '')}/.cache"
    return Path(home) / "fleet"


@dataclass(frozen=True, slots=True)
class Programs:
    """One version of agent and scheduler: our own packages' files by name, and what they require of others."""

    release: str  # "0.1.0"
    requirements: tuple[str, ...]
    files: Mapping[str, bytes] = field(repr=False)
    units: Mapping[str, str] = field(repr=False)

    @property
    def version(self) -> str:
        """What tells it from others: other code or other requirements make another one."""
        digest = hashlib.sha256("\n".join(self.requirements).encode())
        for name, content in sorted(self.files.items()):
            digest.update(f"{name} {len(content)}\n".encode() + content)
        return f"{self.release}-{digest.hexdigest()[:8]}"


def running() -> Programs:
    """The version that runs here. UserError where it was never installed."""
    try:
        found = requires("fleettui") or []
    except PackageNotFoundError:
        raise UserError(
            "fleettui is not installed here, only lies here; run `make setup`, or pip install ."
        ) from None
    needed = sorted(each for each in found if "extra ==" not in each)
    return Programs(installed_version(), tuple(needed), dict(_own_files()), unit_files(BIN))


def of_wheel(path: Path) -> Programs:
    """The version in a wheel of ours. UserError for what is none."""
    try:
        with zipfile.ZipFile(path) as opened:
            names = opened.namelist()
            about = next(each for each in names if re.fullmatch(r"fleettui-[^/]+\.dist-info/METADATA", each))
            metadata = message_from_bytes(opened.read(about))
            ours = [each for each in names if each.partition("/")[0] in PACKAGES and not each.endswith("/")]
            files = {each: opened.read(each) for each in ours}
            services = [each for each in names if re.fullmatch(r"fleettui/services/[^/]+\.service", each)]
            units = {each.rpartition("/")[2]: opened.read(each).decode() for each in services}
    except (OSError, zipfile.BadZipFile, StopIteration, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is no wheel of fleettui"
        raise UserError(f"cannot use {path}: {why}") from None
    needed = sorted(each for each in metadata.get_all("Requires-Dist", []) if "extra ==" not in each)
    placed = {name: moved(text, BIN) for name, text in units.items()}
    return Programs(str(metadata["Version"]), tuple(needed), files, placed)


def archive(programs: Programs, python: str, architecture: str, directory: Path) -> Path:
    """The archive for hosts with this Python ("3.11") and architecture, made if it is not kept yet. UserError."""
    made = directory / f"fleettui-{programs.version}-py{python}-{architecture}.tar.gz"
    if not made.exists():
        wheels = _wheels(programs.requirements, python, architecture, directory)
        files = dict(sorted((*_library_files(wheels), *_programs(programs, python))))
        _check_compiled(files, architecture, directory)
        scratch = made.with_name(f".{made.name}.{os.getpid()}")
        scratch.write_bytes(_packed(files))
        scratch.replace(made)
    return made


def _wheels(requirements: tuple[str, ...], python: str, architecture: str, directory: Path) -> list[Path]:
    """The libraries as wheels, from the package index that pip knows, or from those kept of an earlier time."""
    place = wheels_directory(requirements, python, architecture, directory)
    if not (place / "complete").exists():
        place.mkdir(parents=True, exist_ok=True)
        platforms = [f"--platform=manylinux_{each}_{architecture}" for each in GLIBC]
        command = [
            sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
            "--only-binary=:all:", "--implementation=cp", f"--python-version={python}",
            f"--platform=manylinux2014_{architecture}", *platforms, f"--dest={place}", *requirements,
        ]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            raise UserError(f"pip did not end within {PIP_TIMEOUT_S} s; is the package index slow?") from None
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()] or ["pip said nothing"]
            raise UserError(
                f"cannot fetch the libraries for Python {python} on {architecture}: {lines[-1]}; this laptop needs"
                " pip (python3 -m ensurepip) and the package index once for each Python of the hosts"
            )
        (place / "complete").touch()
    return sorted(each for each in place.glob("*.whl") if each.name.partition("-")[0].lower() not in LEFT_OUT)


def wheels_directory(requirements: tuple[str, ...], python: str, architecture: str, directory: Path) -> Path:
    """Where the wheels for these requirements are kept."""
    named = hashlib.sha256("\n".join(requirements).encode()).hexdigest()[:12]
    return directory / "wheels" / f"py{python}-{architecture}-{named}"


def _library_files(wheels: list[Path]) -> Iterator[tuple[str, bytes]]:
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as opened:
            for each in opened.infolist():
                name = re.sub(r"^[^/]+\.data/(purelib|platlib)/", "", each.filename)
                if each.is_dir() or ".data/" in name or name.endswith(UNUSED):
                    continue
                path = PurePosixPath(name)
                if path.is_absolute() or ".." in path.parts:
                    raise UserError(f"{wheel} holds {name!r}, which no wheel may hold; delete {wheel.parent}")
                yield f"lib/{name}", opened.read(each)


def _check_compiled(files: Mapping[str, bytes], architecture: str, directory: Path) -> None:
    """Refuse what is compiled for another architecture than the host's. UserError."""
    for name, content in files.items():
        if content.startswith(b"\x7fELF") and (found := elf_machine(content)) != architecture:
            raise UserError(
                f"{name} is compiled for {found or 'an unknown architecture'}, and the hosts are {architecture};"
                f" delete {directory / 'wheels'} and run the same again"
            )


def elf_machine(content: bytes) -> str:
    """The architecture that a compiled file is for; "" for one that we do not know (elf(5), e_machine)."""
    return MACHINES.get(int.from_bytes(content[18:20], "little"), "") if content.startswith(b"\x7fELF") else ""


def _programs(programs: Programs, python: str) -> Iterator[tuple[str, bytes]]:
    yield from ((f"lib/{name}", content) for name, content in programs.files.items())
    yield from ((f"units/{name}", text.encode()) for name, text in programs.units.items())
    metadata = f"Metadata-Version: 2.1\nName: fleettui\nVersion: {programs.release}\n"
    yield f"lib/fleettui-{programs.release}.dist-info/METADATA", metadata.encode()
    for name, package in PROGRAMS.items():
        yield f"bin/{name}", LAUNCHER.format(python=python, package=package).encode()


def _own_files() -> Iterator[tuple[str, bytes]]:
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise UserError(f"the package {package} is missing here; install fleettui again")
        root = Path(spec.origin).parent
        for path in sorted(root.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield f"{package}/{path.relative_to(root).as_posix()}", path.read_bytes()


def _packed(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=6, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o755 if name.startswith("bin/") or name.endswith(".so") else 0o644
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()

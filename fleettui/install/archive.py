"""The programs and the libraries that a host needs, in one archive for each Python version and architecture.

Made on this laptop, kept below ~/.cache/fleet, and unpacked on the host, which needs no compiler, no index and no
tool of Python's. The libraries are what the agent and the scheduler require, as wheels that pip has chosen for the
host's Python; our own packages are those that run here. The same input makes the same bytes.

    bin/fleet-agentd, bin/fleet-scheduler    lib/    (and once it is whole, on the host: complete)

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
from functools import cache
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path, PurePosixPath

from registry.errors import UserError
from registry.program.version import installed_version

PACKAGES = ("registry", "placement", "scheduler", "agentd")
PROGRAMS = {"fleet-agentd": "agentd", "fleet-scheduler": "scheduler"}
ARCHITECTURES = ("x86_64", "aarch64")
GLIBC = ("2_17", "2_24", "2_26", "2_27", "2_28", "2_31", "2_34", "2_35")  # Debian 12 has 2.36
# What the client library requires and nothing of ours ever loads (`registry.etcd.library`): two thirds of it all.
LEFT_OUT = {
    "certifi",
    "cffi",
    "charset_normalizer",
    "cryptography",
    "pycparser",
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


@cache
def version() -> str:
    """The version of the programs that run here; other code or other requirements make another one."""
    digest = hashlib.sha256("\n".join(_requirements()).encode())
    for name, content in _own_files():
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return f"{installed_version()}-{digest.hexdigest()[:8]}"


def archive(python: str, architecture: str, directory: Path) -> Path:
    """The archive for hosts with this Python ("3.11") and architecture, made if it is not kept yet. UserError."""
    made = directory / f"fleettui-{version()}-py{python}-{architecture}.tar.gz"
    if not made.exists():
        wheels = _wheels(python, architecture, directory)
        files = dict(sorted((*_library_files(wheels), *_programs(python))))
        scratch = made.with_name(f".{made.name}.{os.getpid()}")
        scratch.write_bytes(_packed(files))
        scratch.replace(made)
    return made


def _requirements() -> list[str]:
    """What our distribution requires without any extra."""
    try:
        found = requires("fleettui") or []
    except PackageNotFoundError:
        raise UserError(
            "fleettui is not installed here, only lies here; run `make setup`, or pip install ."
        ) from None
    return sorted(each for each in found if "extra ==" not in each)


def _wheels(python: str, architecture: str, directory: Path) -> list[Path]:
    """The libraries as wheels, from the package index that pip knows, or from those kept of an earlier time."""
    named = hashlib.sha256("\n".join(_requirements()).encode()).hexdigest()[:12]
    place = directory / "wheels" / f"py{python}-{architecture}-{named}"
    if not (place / "complete").exists():
        place.mkdir(parents=True, exist_ok=True)
        platforms = [f"--platform=manylinux_{each}_{architecture}" for each in GLIBC]
        command = [
            sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
            "--only-binary=:all:", "--implementation=cp", f"--python-version={python}",
            f"--platform=manylinux2014_{architecture}", *platforms, f"--dest={place}", *_requirements(),
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


def _programs(python: str) -> Iterator[tuple[str, bytes]]:
    yield from ((f"lib/{name}", content) for name, content in _own_files())
    metadata = f"Metadata-Version: 2.1\nName: fleettui\nVersion: {installed_version()}\n"
    yield f"lib/fleettui-{installed_version()}.dist-info/METADATA", metadata.encode()
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

"""Other people's Python packages as the .deb packages carry them: one directory for every Python that may come.

The wheels of a package differ between versions of Python in their compiled modules alone, and those carry the
version in their names; so they lie side by side, and the Python that is there takes its own.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PathDistribution
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
PYTHONS = ("3.11", "3.12", "3.13")  # Debian 12, Ubuntu 24.04, Debian 13
ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}  # Debian's names, and those of wheels
GLIBC = ("2_34", "2_28", "2_17", "2_5")  # of wheels; Debian 12 has 2.36
# What etcd3-py requires, and nothing that we load of it imports (registry/etcd/library.py). The operator's
# side needs some of it for itself.
UNUSED = {"certifi", "charset-normalizer", "pyopenssl", "requests", "urllib3"}
UNUSED_BY_DAEMONS = UNUSED
# Written by pip, or of use to who compiles.
LEFT_OUT = (
    "RECORD",
    "INSTALLER",
    "REQUESTED",
    "direct_url.json",
    "*.pyi",
    "*.pyx",
    "*.pxd",
    "*.c",
    "*.h",
    "*_testcapi*",
)


def pip_target(python: str, architecture: str, directory: str) -> list[str]:
    """The options of pip for wheels of another Python, none of which is compiled here."""
    machine = ARCHITECTURES[architecture]
    tags = [*(f"manylinux_{version}_{machine}" for version in GLIBC), f"manylinux2014_{machine}"]
    platforms = [word for tag in tags for word in ("--platform", tag)]
    return [
        "--disable-pip-version-check", "--only-binary=:all:", "--implementation=cp", f"--python-version={python}",
        *platforms, f"--target={directory}",
    ]  # fmt: skip


def carry(architecture: str, cache: Path) -> Path:
    """The directory that holds the packages of all versions of Python, fetched once below `cache`."""
    recipe = hashlib.sha256(Path(__file__).read_bytes() + REQUIREMENTS.read_bytes()).hexdigest()[:12]
    made = cache / f"{architecture}-{recipe}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another build may fetch the same
        if not made.exists():
            _fetch(architecture, made)
    return made


def _fetch(architecture: str, made: Path) -> None:
    fresh = made.with_name(f"{made.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    wanted = fresh / "requirements"
    wanted.write_text("".join(_wanted()))
    command = [sys.executable, "-m", "pip", "-qq", "install", "--no-deps", "--no-compile", "--require-hashes"]

    def fetch(python: str) -> Path:
        target = pip_target(python, architecture, str(fresh / python))
        subprocess.run([*command, *target, f"--requirement={wanted}"], check=True)
        return fresh / python

    with ThreadPoolExecutor() as pool:
        for place in pool.map(fetch, PYTHONS):
            _merge(place, fresh / "all")
    (fresh / "all").rename(made)
    shutil.rmtree(fresh)


def needed(directory: Path, requirements: Iterable[str], *, without: set[str]) -> set[str]:
    """The names of what is required, and of all that this requires, apart from what is not wanted."""
    known = {normal(each.name): each for each in distributions(directory)}
    found: set[str] = set()
    pending = {name_of(each) for each in requirements} - without
    while pending:
        found |= pending
        required = (each for name in pending for each in known[name].requires or () if "extra ==" not in each)
        pending = {name_of(each) for each in required} & known.keys() - found - without
    return found


def name_of(requirement: str) -> str:
    """The name that a requirement begins with."""
    return normal(re.split(r"[^\w.-]", requirement.strip(), maxsplit=1)[0])


def distributions(directory: Path) -> Iterator[PathDistribution]:
    """What is installed there."""
    return (PathDistribution(each) for each in sorted(directory.glob("*.dist-info")))


def normal(name: str) -> str:
    """A package's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def tops(directory: Path, name: str) -> list[Path]:
    """What a package has at the top of the directory."""
    (info,) = (each for each in directory.glob("*.dist-info") if normal(PathDistribution(each).name) == name)
    names = {line.partition("/")[0] for line in (info / "FILES").read_text().splitlines()}
    return sorted(directory / each for each in names if (directory / each).exists())


def _wanted() -> Iterator[str]:
    for line in REQUIREMENTS.read_text().splitlines():
        if not line.startswith("#") and line.partition("==")[0] not in UNUSED:
            yield f"{line}\n"


def _merge(place: Path, into: Path) -> None:
    """Lay one Python's packages beside those of the others. ValueError when they differ in a file that all read."""
    for info in place.glob("*.dist-info"):
        lines = (line.partition(",")[0] for line in (info / "RECORD").read_text().splitlines())
        (info / "FILES").write_text("".join(f"{each}\n" for each in sorted(lines) if not each.startswith("..")))
    for source in sorted(place.rglob("*")):
        name = source.relative_to(place)
        if source.is_dir() or name.parts[0] == "bin" or any(name.match(each) for each in LEFT_OUT):
            continue
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            shutil.copyfile(source, target)
        elif name.name == "FILES":
            lines = {*target.read_text().splitlines(), *source.read_text().splitlines()}
            target.write_text("".join(f"{each}\n" for each in sorted(lines)))
        elif name.name != "WHEEL" and source.read_bytes() != target.read_bytes():
            raise ValueError(f"{name} is another one for another version of Python")

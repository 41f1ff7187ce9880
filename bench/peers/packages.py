"""What Debian's packages put on top of this host's root, made once by its own apt and kept as an archive.

The host itself is not changed: apt works on a copy-on-write view of it, in a mount namespace that ends with it.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from fleettui.demo.process import ToolFailed, run

CACHE = Path(__file__).parent.parent.parent / "build/peers"
SCRIPT = Path(__file__).with_name("layer.sh")
INSTALLED = Path("/var/lib/dpkg/status")
BUILD_S = 900


class Unavailable(Exception):
    """The packages cannot be had here; the message says why, in one line."""


def layer(packages: Sequence[str]) -> Path:
    """The archive of what these packages add to this host's root, made where there is none. Raises Unavailable.

    It belongs to the packages that the host has: when those change, it is made anew.
    """
    if not (shutil.which("apt-get") and INSTALLED.exists()):
        raise Unavailable("this host has no apt")
    recipe = hashlib.sha256(repr(packages).encode() + SCRIPT.read_bytes() + INSTALLED.read_bytes()).hexdigest()[:12]
    archive = CACHE / f"{packages[0]}-{recipe}.tar"
    if not archive.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        for older in CACHE.glob(f"{packages[0]}-*"):
            older.unlink()
        apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        try:
            run([*apart, "sh", SCRIPT, archive, *packages], timeout_s=BUILD_S)
        except ToolFailed as error:
            raise Unavailable(str(error)) from error
    return archive


def unpack(archive: Path, directory: Path) -> None:
    """Lay the archive out as a directory that an overlay can have among its lower ones."""
    directory.mkdir(parents=True)
    run(["tar", "--xattrs", "--xattrs-include=trusted.overlay.*", "-xpf", archive, "-C", directory], timeout_s=300)

"""A container image made on this host from its static busybox, so that no registry of images is needed."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

from fleettui.demo.node import Node
from fleettui.demo.process import ToolFailed

IMAGE = "localhost/busybox:1"
APPLETS = ("sh", "cat", "date", "echo", "env", "hostname", "ls", "ps", "sleep", "uname", "wget")
ARCHIVE = "var/lib/busybox-image.tar"


def podman_missing() -> list[str]:
    """Why nodes of this host cannot run containers; empty when they can."""
    needed = {"podman": "podman", "crun": "crun", "busybox": "busybox-static"}
    return [
        f"{program} is missing (package {each})" for program, each in needed.items() if not shutil.which(program)
    ]


def load_image(node: Node) -> None:
    """Put the image into a node's own store; one that is there is kept. Raises ToolFailed."""
    if node.exec(["podman", "image", "exists", IMAGE]).returncode == 0:
        return
    archive = node.root.directory / ARCHIVE
    archive.write_bytes(image_archive(Path(shutil.which("busybox") or "/bin/busybox")))
    done = node.exec(["podman", "import", f"/{ARCHIVE}", IMAGE], timeout_s=120)
    archive.unlink()
    if done.returncode:
        raise ToolFailed(f"cannot make the container image on {node.name}: {done.stderr.strip().splitlines()[-1:]}")


def image_archive(busybox: Path) -> bytes:
    """The image's file system as a tar archive: one program under its many names."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("bin", "etc", "proc", "sys", "tmp", "dev"):
            archive.addfile(_entry(name, tarfile.DIRTYPE, 0o755))
        _add_file(archive, "bin/busybox", busybox.read_bytes(), 0o755)
        _add_file(archive, "etc/passwd", b"root:x:0:0:root:/:/bin/sh\n", 0o644)
        for applet in APPLETS:
            link = _entry(f"bin/{applet}", tarfile.SYMTYPE, 0o777)
            link.linkname = "busybox"
            archive.addfile(link)
    return buffer.getvalue()


def _add_file(archive: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = _entry(name, tarfile.REGTYPE, mode)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = kind, mode
    return entry

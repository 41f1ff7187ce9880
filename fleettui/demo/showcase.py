"""Starting the example units on a local cluster, through fleetctl as an operator would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import fleettui
from fleettui.demo.process import Completed
from registry.errors import UserError

STARTED = (
    "hello-web.service",
    "hello-log.service",
    "node-load.service",
    "web@1.service",
    "web@2.service",
    "web@3.service",
    "tick.timer",
    "chatty.service",
    "broken.service",
    "mars.service",
)
CONTAINER = "hello-container.service"
Fleetctl = Callable[..., Completed]


def directory() -> Path:
    """The folder of example units, which comes with the source tree alone. Raises UserError."""
    folder = Path(fleettui.__file__).resolve().parent.parent / "examples"
    if not folder.is_dir():
        raise UserError("the example units come with the source tree, not with the installed package")
    return folder


def start(fleetctl: Fleetctl, *, containers: bool) -> list[str]:
    """Hand in all examples and start them without waiting. Returns complaints, in words."""
    folder = directory()
    names = [*STARTED, *([CONTAINER] if containers else [])]
    orders = (
        ["submit", str(folder / "web@.service")],
        ["load", "--no-block", str(folder / "tick.service")],
        ["start", "--no-block", *(str(folder / name) for name in names)],
    )
    complaints = []
    for verb, *words in orders:
        if (done := fleetctl(verb, *words)).returncode:
            lines = (done.stderr or done.stdout).strip().splitlines()
            complaints.append(f"fleetctl {verb}: {lines[-1] if lines else f'ended with {done.returncode}'}")
    return complaints

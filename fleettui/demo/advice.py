"""What a user types to reach one local cluster and no other, from this directory and this environment."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

from fleettui.demo import nodefiles
from fleettui.demo.paths import operator_config
from registry.program.config import operator_files

DEFAULT = "demo"
OURS = ("FLEET_", "FLEETCTL_")


def program(name: str) -> str:
    """How one of our programs is called from here."""
    ours, found = nodefiles.program(name), shutil.which(name)
    if found and Path(found).resolve() == ours.resolve():
        return name
    return str(ours.relative_to(Path.cwd())) if ours.is_relative_to(Path.cwd()) else str(ours)


def opening(name: str, config: Path, environ: Mapping[str, str] = os.environ) -> str:
    """The program with what makes it open the cluster of this configuration, whatever else is configured here.

    Variables count for more than a file, so those that are set are taken away.
    """
    unset = sorted(each for each in environ if each.startswith(OURS) and each != "FLEET_CONFIG")
    lead = f"env {' '.join(f'-u {each}' for each in unset)} " if unset else ""
    asked = environ.get("FLEET_CONFIG")
    usual = (*map(Path, operator_files(environ)), operator_config())
    found = Path(asked) if asked else next(filter(Path.is_file, usual), None)
    flag = "" if found == config else f" --config {shlex.quote(str(config))}"
    return f"{lead}{program(name)}{flag}"


def demo(command: str, name: str, *words: str) -> str:
    """A `fleettui demo` command on the cluster of this name."""
    named = () if name == DEFAULT else ("--name", shlex.quote(name))
    return " ".join((program("fleettui"), "demo", command, *named, *words))

"""The unit files of agent and scheduler: the one source for packages, `fleettui join` and the local cluster.

They lie beside this file as packages install them.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

PACKAGED = "/usr/bin/"  # where packages put the programs


def unit_files(programs: Path) -> dict[str, str]:
    """The text of each unit file by its name, for programs that lie in the directory `programs`."""
    found = [each for each in resources.files(__name__).iterdir() if each.name.endswith(".service")]
    return {each.name: moved(each.read_text(), programs) for each in found}


def moved(text: str, programs: Path) -> str:
    """A unit file as packages install it, for programs that lie in the directory `programs`."""
    return text.replace(f"={PACKAGED}fleet-", f"={programs}/fleet-")

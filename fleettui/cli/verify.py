"""`fleetctl verify`: what is wrong with unit files, or may be more than is meant, without a registry."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from fleettui.actions.disk import read_bytes
from fleettui.cli.failures import FAILED, OK
from fleettui.cli.output import complain, say
from registry.errors import UserError
from registry.units.check import verify
from registry.units.hostreach import warnings


def verify_files(flags: Namespace) -> int:
    """Print every problem of every file, and every warning; exit 1 when there is a problem."""
    return FAILED if sum([not _is_fine(Path(name)) for name in flags.names]) else OK


def _is_fine(path: Path) -> bool:
    try:
        data = read_bytes(path)
    except UserError as error:
        complain(f"Error: {error}")
        return False
    if data is None:
        complain(f"Error: {path} does not exist; give a unit file")
        return False
    problems = verify(path.name, data, str(path))
    for problem in problems:
        say(str(problem))
    if not problems:
        for warning in warnings(path.name, data.decode("utf-8"), str(path)):
            say(f"WARNING: {warning}")
        say(f"{path}: no problem found")
    return not problems

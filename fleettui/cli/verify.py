"""`fleetctl verify`: what is wrong with unit files, or may be more than is meant, without a registry."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from fleettui.actions.disk import verify_path
from fleettui.cli.failures import FAILED, OK
from fleettui.cli.output import complain, say
from registry.errors import UserError


def verify_files(flags: Namespace) -> int:
    """Print every problem of every file, and every warning; exit 1 when there is a problem."""
    code = OK
    for path in map(Path, flags.names):
        try:
            problems, found = verify_path(path)
        except UserError as error:
            complain(f"Error: {error}")
            code = FAILED
            continue
        for problem in problems:
            say(str(problem))
            code = FAILED
        for warning in found:
            say(f"WARNING: {warning}")
        if not problems:
            say(f"{path}: no problem found")
    return code

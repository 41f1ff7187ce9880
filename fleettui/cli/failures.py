"""How a command ends badly: the exceptions that carry an exit code. Prints nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.errors import UserError

if TYPE_CHECKING:
    from argparse import Namespace

OK = 0
FAILED = 1
CHANGES = 2  # there are differences, or something would change
USAGE = 2
INTERRUPTED = 130


# The flags that say how to go about a rollout, and what they are where they are not given.
POLICY = {"name": None, "canary": 0, "healthy_for": "10s", "max_failures": 0, "on_failure": "pause"}


class UsageError(UserError):
    """The command line itself is wrong: exit code 2. `usage` is the command's usage line, or ""."""

    def __init__(self, reason: str, usage: str = "") -> None:
        super().__init__(reason)
        self.usage = usage


def refuse_policy(flags: Namespace) -> None:
    """Raise UsageError for flags that say how to go about a rollout, where --at-a-time asks for none."""
    given = [name for name, usual in POLICY.items() if getattr(flags, name, usual) != usual]
    if given and not flags.at_a_time:
        raise UsageError(f"--{given[0].replace('_', '-')} is about a rollout", "add --at-a-time N")

"""How a command ends badly: the exceptions that carry an exit code. Prints nothing."""

from __future__ import annotations

from registry.errors import UserError

OK = 0
FAILED = 1
CHANGES = 2  # there are differences, or something would change
USAGE = 2
INTERRUPTED = 130


class UsageError(UserError):
    """The command line itself is wrong: exit code 2. `usage` is the command's usage line, or ""."""

    def __init__(self, reason: str, usage: str = "") -> None:
        super().__init__(reason)
        self.usage = usage

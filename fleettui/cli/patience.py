"""How long a verb on units waits for its effect, from its flags."""

from __future__ import annotations

from argparse import Namespace

from fleettui.cli.connection import duration
from registry.frozen import dataclass

MOST_ATTEMPTS = 10**9  # some fifteen years
ATTEMPT_S = 0.5  # fleet looked twice a second; --block-attempts counts in these


@dataclass(frozen=True, slots=True)
class WaitLimit:
    """How long a verb waits: not at all, until `seconds` have passed, or for ever (None)."""

    blocks: bool = True
    seconds: float | None = None


def patience(flags: Namespace) -> WaitLimit:
    """From --no-block, --block-attempts and --timeout. UserError for a time that is none."""
    attempts = getattr(flags, "block_attempts", None)
    limits = [limit for limit in (duration(flags.timeout, "--timeout"),) if limit is not None]
    if attempts:
        limits.append(min(attempts, MOST_ATTEMPTS) * ATTEMPT_S)
    return WaitLimit(not flags.no_block and (attempts or 0) >= 0, min(limits, default=None))

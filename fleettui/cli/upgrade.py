"""`fleetctl upgrade`: another version of the programs on the machines that a join has made."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path

from fleettui.cli.failures import OK, UsageError
from fleettui.cli.output import say
from fleettui.install.steps import Step
from fleettui.install.upgrade import prepared_upgrade


async def upgrade(flags: Namespace) -> int:
    """Upgrade every machine, or go back."""
    if flags.to and flags.rollback:
        raise UsageError("--rollback goes to the version before, --to to another one: give one of them")
    if flags.config:
        os.environ["FLEET_CONFIG"] = flags.config
    wheel = Path(flags.to) if flags.to else None
    async with prepared_upgrade(os.environ, wheel=wheel, rollback=flags.rollback) as upgrading:
        if upgrading.away:
            again = "--rollback" if flags.rollback else "it"
            say(f"note: {', '.join(upgrading.away)} is away and left as it is; once it is back, run {again} again")
        if not upgrading.stages:
            say(f"Nothing to do: every machine runs {upgrading.version}")
        for stage in upgrading.stages if flags.dry_run else ():
            for step in stage.steps:
                say(f"{step.host}: {step.does}")
        if upgrading.stages and not flags.dry_run:
            await upgrading.site.carry_out(upgrading.stages, _told)
            say(f"Every machine runs {upgrading.version}")
    return OK


def _told(step: Step, seconds: float) -> None:
    if seconds >= 0:
        say(f"{step.host}: {step.does} ({seconds:.1f} s)")

"""`fleetctl doctor`: what is wrong with the fleet, and what to do about it; the exit status says how bad it is."""

from __future__ import annotations

import os
from argparse import Namespace

from fleettui.cli.connection import reached, read_settings
from fleettui.cli.hosts import remote_of
from fleettui.cli.output import print_json, say
from fleettui.doctor.examine import examine
from fleettui.doctor.finding import Finding, Level, broken, worst
from fleettui.doctor.reading import read_facts
from fleettui.remote import RemoteError
from registry.errors import RegistryError, UserError
from registry.keys import Keys
from registry.wording import counted


async def doctor(flags: Namespace) -> int:
    """Print everything that was looked at; 0 when all is well, 1 with warnings, 2 when something is broken."""
    findings = await _findings(flags)
    level = worst(findings)
    if flags.json:
        records = [
            {"level": each.level.word, "subject": each.subject, "text": each.text, "remedy": each.remedy}
            for each in findings
        ]
        print_json({"level": level.word, "findings": records})
        return level
    for each in findings:
        say(f"{each.level.word:<8} {each.subject:<12} {each.text}")
        if each.remedy:
            say(f"{'':<21} -> {each.remedy}")
    counts = {each: sum(finding.level is each for finding in findings) for each in Level}
    warnings = counted(counts[Level.WARNING], "warning")
    say(f"{counts[Level.OK]} fine, {warnings}, {counts[Level.BROKEN]} broken")
    return level


async def _findings(flags: Namespace) -> list[Finding]:
    try:
        settings = read_settings(flags, os.environ)
    except UserError as error:
        return [broken("configuration", str(error), "mend it; see docs/configuration.md")]
    try:
        async with reached(settings) as etcd:
            machines = (lambda snapshot: remote_of(settings, snapshot)) if flags.ssh else None
            return examine(await read_facts(etcd, Keys.under(settings.etcd.prefix), settings.source, machines))
    except RemoteError as error:
        return [broken("tunnel", str(error), f"ssh {settings.ssh.tunnel} must work without a question")]
    except (UserError, RegistryError) as error:
        return [broken("configuration", str(error), "mend [etcd]; see docs/configuration.md")]

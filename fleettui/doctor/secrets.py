"""Which machines can open the fleet's secrets, by what their agents say of their files of keys. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from fleettui.doctor.facts import Examination
from fleettui.doctor.finding import Finding, ok, warning
from registry.model import Machine
from registry.wording import counted, listed

SHOWN = 4


def unable(machines: Mapping[str, Machine], good: Collection[str]) -> dict[str, str]:
    """The machines that open no secret, by their ids, and why. `good` are the hashes of files that are right.

    Without those, as on hosts that do not have the fleet's own key, it is only seen which have none.
    """
    found = {}
    for each in machines.values():
        if each.opens_nothing:
            found[each.id] = each.opens_nothing
        elif each.secrets_key and good and each.secrets_key not in good:
            found[each.id] = f"it has another key than the fleet's; run fleettui join for {each.hostname} again"
    return found


def secrets(facts: Examination) -> Iterator[Finding]:
    """Whether all machines can open the secrets that the registry has."""
    snapshot = facts.snapshot
    if snapshot is None or not snapshot.secrets or not snapshot.machines:
        return
    machines = snapshot.machines
    bad = unable(machines, facts.secrets_keys)
    for each in list(bad)[:SHOWN]:
        reason, _, remedy = bad[each].partition("; ")
        yield warning("secret", f"{machines[each].hostname} opens no secret: {reason}", remedy)
    if len(bad) > SHOWN:
        names = listed(sorted(machines[each].hostname for each in bad), SHOWN)
        text = f"{counted(len(bad), 'machine')} open no secret: {names}"
        yield warning("secret", text, "fleettui join for each again")
    if bad:
        return
    files: dict[str, list[str]] = {}
    for machine in machines.values():
        files.setdefault(machine.secrets_key, []).append(machine.hostname)
    silent = files.pop("", [])
    if len(files) > 1 and not facts.secrets_keys:
        few = "; ".join(listed(sorted(names), SHOWN) for _, names in sorted(files.items()))
        text = f"machines have {len(files)} different files of keys for secrets: {few}"
        yield warning("secret", text, "fleetctl doctor where the fleet was made tells which is right")
        return
    said = f"; {listed(sorted(silent), SHOWN)}: not known" if silent else ""
    able, kept = len(machines) - len(silent), counted(len(snapshot.secrets), "secret")
    yield ok("secret", f"{kept}, which {counted(able, 'machine')} can open{said}")

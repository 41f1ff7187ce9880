"""What is wrong with the fleet, as its registry tells: sentinel, leader, machines, agents, records, units. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from fleettui.doctor.facts import Examination
from fleettui.doctor.finding import Finding, broken, ok, warning
from registry.lifecycle import applied
from registry.model import SCHEMA_VERSION
from registry.sync.sentinel import ahead
from registry.wording import counted, listed

EVENTS_MOST = 12_000  # the leader keeps 10,000, and looks now and then
SHOWN = 4


def registry(facts: Examination) -> Iterator[Finding]:
    """Whether what is in etcd is a fleet's, and is gone by."""
    snapshot = facts.snapshot
    if snapshot is None:
        if facts.answering:
            text = f"the registry cannot be read: {facts.registry_problem}"
            yield broken("registry", text, "mend the user, or etcd, as said above")
        return
    sentinel = snapshot.cluster
    if sentinel is None:
        empty = not (snapshot.units or snapshot.machines or snapshot.schedule)
        text = f"there is no fleet below {facts.keys.prefix}" + (
            "" if empty else ", yet there are records: it is damaged"
        )
        remedy = "check --prefix and --endpoint; a new fleet begins with its first fleet-scheduler"
        yield broken("registry", text, remedy if empty else "restore a backup")
    elif sentinel.schema > SCHEMA_VERSION:
        yield broken("registry", "it is of a newer schema than this program knows", "upgrade fleetctl")
    elif sentinel.held:
        text = f"its history went back, and everything is held as it is: {sentinel.held}"
        yield broken("registry", text, "fleetctl restore shows what would change, and accepts it")
    elif why := ahead(sentinel, facts.now):
        yield broken("registry", f"its sentinel is broken: {why}", "fleetctl restore")
    else:
        yield ok("registry", f"fleet {sentinel.id}")


def leader(facts: Examination) -> Iterator[Finding]:
    """Whether a scheduler leads."""
    snapshot = facts.snapshot
    if snapshot is None or snapshot.cluster is None:
        return
    if snapshot.leader is None:
        text = "no scheduler leads: nothing is placed or moved"
        yield broken("scheduler", text, "start fleet-scheduler on at least one machine")
    else:
        yield ok("scheduler", f"the one on {snapshot.leader.hostname} leads")


def machines(facts: Examination) -> Iterator[Finding]:
    """Whether all machines that the schedule names are there, and each is one."""
    snapshot = facts.snapshot
    if snapshot is None or snapshot.cluster is None:
        return
    if not snapshot.machines:
        yield broken(
            "machine", "no machine is registered", "start fleet-agentd on one: systemctl status fleet-agentd"
        )
    named = Counter(machine for machine, _ in snapshot.schedule if machine not in snapshot.machines)
    for machine, units in named.most_common(SHOWN):
        text = f"machine {machine} is lost, with {counted(units, 'unit')} scheduled there"
        yield warning("machine", text, f"fleetctl events --machine {machine}, and see whether that host runs")
    if len(named) > SHOWN:
        more = len(named) - SHOWN
        yield warning("machine", f"{counted(more, 'more machine')} lost", "fleetctl list-machines")
    for machine, boot in list(snapshot.duplicates)[:SHOWN]:
        other = snapshot.duplicates[machine, boot]
        text = f"{other.hostname} ({other.address}) has the machine id {machine}, which is another machine's"
        yield broken(
            "machine", text, "there: rm /etc/machine-id && systemd-machine-id-setup, then restart fleet-agentd"
        )
    held = [each.hostname for each in snapshot.machines.values() if each.held]
    if held:
        text = f"the agents of {listed(sorted(held), SHOWN)} hold everything as it is"
        yield broken("machine", text, "fleetctl restore shows what would change, and accepts it")
    if snapshot.machines and not named and not snapshot.duplicates:
        yield ok("machine", f"{counted(len(snapshot.machines), 'machine')}, none lost")


def agents(facts: Examination) -> Iterator[Finding]:
    """Which versions the agents are of."""
    found: dict[str, list[str]] = {}
    for each in facts.snapshot.machines.values() if facts.snapshot else ():
        found.setdefault(each.agent_version or "unknown", []).append(each.hostname)
    told = {version: listed(sorted(hosts), SHOWN) for version, hosts in sorted(found.items())}
    if len(found) > 1:
        text = f"agents are of {len(found)} versions: " + "; ".join(f"{each} on {told[each]}" for each in told)
        yield warning("agent", text, "they work together; finish the upgrade when it suits")
    elif found and facts.version not in found:
        (version,) = found
        text = f"the agents are of version {version}, this program of {facts.version}"
        yield warning("agent", text, "they work together; upgrade the older one when it suits")
    elif found:
        yield ok("agent", f"version {facts.version} everywhere")


def records(facts: Examination) -> Iterator[Finding]:
    """Records that do not parse, and an audit trail that nobody shortens."""
    snapshot = facts.snapshot
    if snapshot is None:
        return
    for corrupt in list(snapshot.corrupt.values())[:SHOWN]:
        text = f"{corrupt.key} does not parse: {corrupt.reason}"
        yield warning(
            "record", text, "of a machine: restart its agent; of a unit: submit it again; else etcdctl del"
        )
    if len(snapshot.corrupt) > SHOWN:
        rest = len(snapshot.corrupt) - SHOWN
        yield warning(
            "record", f"{counted(rest, 'more record')} that cannot be parsed", "fleetctl list-units names them"
        )
    if facts.events > EVENTS_MOST:
        text = f"there are {facts.events:,} events, and a leader keeps 10,000: nobody collects them"
        yield warning("record", text, "see whether a scheduler leads, and what its log says")
    if not snapshot.corrupt and facts.events <= EVENTS_MOST:
        yield ok("record", f"every record parses; {facts.events:,} events")


def backlog(facts: Examination) -> Iterator[Finding]:
    """Units that wait or have failed, and what machines have not carried out yet."""
    snapshot = facts.snapshot
    if snapshot is None or not snapshot.units:
        return
    waiting = sorted(name for name, each in snapshot.pending.items() if not each.passing)
    if waiting:
        few = listed(waiting, SHOWN)
        yield warning(
            "unit", f"{counted(len(waiting), 'unit')} without a machine: {few}", f"fleetctl why {waiting[0]}"
        )
    failed = sorted({each.unit for each in snapshot.states.values() if each.error or each.active == "failed"})
    if failed:
        few = listed(failed, SHOWN)
        yield warning(
            "unit",
            f"{counted(len(failed), 'unit')} failed: {few}",
            f"fleetctl status {failed[0]}; fleetctl journal {failed[0]}",
        )
    if not waiting and not failed:
        lines = [(pair, line) for pair, line in snapshot.schedule.items() if pair[0] in snapshot.machines]
        late = sum(not applied(line, snapshot.states.get(pair)) for pair, line in lines)
        under_way = f"; {counted(late, 'line')} of the schedule to be carried out yet" if late else ""
        yield ok("unit", f"{counted(len(snapshot.units), 'unit')}, none waits, none failed{under_way}")

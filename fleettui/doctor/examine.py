"""All judgements, in the order in which one would mend things: the way in, etcd, the fleet, its machines. Pure."""

from __future__ import annotations

from fleettui.doctor import access, etcd, fleet, hosts, secrets
from fleettui.doctor.facts import Examination
from fleettui.doctor.finding import Finding

JUDGEMENTS = (
    access.files,
    access.certificates,
    etcd.endpoints,
    etcd.members,
    etcd.versions,
    etcd.alarms,
    etcd.room,
    etcd.clocks,
    access.user,
    fleet.registry,
    fleet.leader,
    fleet.machines,
    fleet.agents,
    secrets.secrets,
    fleet.records,
    fleet.backlog,
    hosts.hosts,
)


def examine(facts: Examination) -> list[Finding]:
    """Everything that there is to say of these facts."""
    return [finding for judge in JUDGEMENTS for finding in judge(facts)]

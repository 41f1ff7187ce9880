"""The one line that says how this agent is, for `systemctl status fleet-agentd`. Pure: facts in, a line out.

What stops the agent from doing its work comes first. "Registered" is said only while the registry answers, takes
our user and shows our machine.
"""

from __future__ import annotations

from dataclasses import dataclass

from registry.etcd.health import EtcdTrouble, moment
from registry.sync.follow import ConnectionState


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """What is known at one moment. Times are seconds since 1970; 0: it is not so."""

    machine: str
    hostname: str
    user: str = ""  # as which etcd knows us
    systemd_away: float = 0.0  # since when systemd does not answer us, or is not asked yet
    leaving: float = 0.0  # since when units are handed over
    units: int = 0  # of which something is here
    parked: float = 0.0  # since when everything is stopped, for want of a registry
    held: str = ""  # why the registry is not obeyed, though it answers
    registered: float = 0.0  # since when our machine is in the registry
    place: str = "connecting to the registry"  # what registering has come to, while it is not done
    away: EtcdTrouble | None = None
    denied: EtcdTrouble | None = None
    schedule: ConnectionState = (
        ConnectionState.CONNECTING
    )  # what the following of our schedule is worth, and why no more
    schedule_reason: str = ""
    endpoints: str = ""  # which of etcd's endpoints do not answer


def status_line(standing: AgentStatus) -> str:
    """How the agent is, in one line."""
    parts = [_work(standing), _registry(standing), standing.endpoints]
    return "; ".join(part for part in parts if part)


def is_well(standing: AgentStatus) -> bool:
    """Whether the agent does all of its work: it is registered, and does as its schedule says."""
    hindered = standing.systemd_away or standing.leaving or standing.parked or standing.held
    registry = standing.registered and not standing.away and not standing.denied
    return bool(registry) and not hindered and standing.schedule is ConnectionState.LIVE


def _work(standing: AgentStatus) -> str:
    if standing.leaving:
        units = "1 unit" if standing.units == 1 else f"{standing.units} units"
        return f"handing {units} over since {moment(standing.leaving)}"
    if standing.systemd_away:
        return f"waiting for systemd since {moment(standing.systemd_away)}"
    if standing.parked:
        return f"every unit is stopped since {moment(standing.parked)}, until the registry answers again"
    return f"holding every unit as it is: {standing.held}" if standing.held else ""


def _registry(standing: AgentStatus) -> str:
    keeps = "" if standing.parked or standing.leaving or standing.held else "; units are kept as they are"
    if standing.away:
        return f"registry does not answer since {moment(standing.away.since)}{keeps} ({standing.away.reason})"
    if standing.denied:
        user = standing.user or "nobody (no user is configured)"
        return f"denied as {user} since {moment(standing.denied.since)}{keeps} ({standing.denied.reason})"
    if not standing.registered:
        return standing.place
    if standing.schedule is ConnectionState.FOREIGN:
        return f"the registry is not this fleet's{keeps} ({standing.schedule_reason})"
    name = f"registered as {standing.hostname} ({standing.machine}) since {moment(standing.registered)}"
    if standing.schedule in (ConnectionState.LOST, ConnectionState.DENIED):
        return f"{name}, but its schedule cannot be read{keeps} ({standing.schedule_reason})"
    return name

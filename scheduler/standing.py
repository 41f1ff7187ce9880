"""The line that says what this scheduler does, for `systemctl status fleet-scheduler`. Pure: facts in, line out."""

from __future__ import annotations

from dataclasses import dataclass

from registry.etcd.health import EtcdTrouble, moment
from registry.sync.follow import ConnectionState


@dataclass(frozen=True, slots=True)
class SchedulerStatus:
    """What is known at one moment. Times are seconds since 1970."""

    link: ConnectionState = ConnectionState.CONNECTING
    reason: str = ""  # why the link is no more than it is
    user: str = ""  # as which etcd knows us
    term: int = 0  # of our own leadership, 0 without
    leader: str | None = None  # the host whose scheduler leads; "" when its record cannot be read
    machines: int = 0
    awaited: bool = False  # machines that are given time to come back before anything is decided
    held: str = ""  # why nothing is decided, though we lead
    away: EtcdTrouble | None = None
    denied: EtcdTrouble | None = None
    endpoints: str = ""  # which of etcd's endpoints do not answer


def status_line(standing: SchedulerStatus) -> str:
    """What the scheduler does, in one line."""
    doing = _outage(standing) or (_leading(standing) if standing.term else _standing_by(standing.leader))
    return "; ".join(part for part in (doing, standing.endpoints) if part)


def _outage(standing: SchedulerStatus) -> str:
    """Why it can do nothing, "" when it can."""
    if standing.away:
        return f"registry does not answer since {moment(standing.away.since)} ({standing.away.reason})"
    if standing.denied:
        user = standing.user or "nobody (no user is configured)"
        return f"denied as {user} since {moment(standing.denied.since)} ({standing.denied.reason})"
    reason = f" ({standing.reason})" if standing.reason else ""
    words = {
        ConnectionState.CONNECTING: f"reading the registry{reason}",
        ConnectionState.FOREIGN: f"deciding nothing: {standing.reason}",
        ConnectionState.HELD: f"deciding nothing: {standing.reason}",
        ConnectionState.LOST: f"registry lost{reason}",
        ConnectionState.DENIED: f"the registry refuses us{reason}",
        ConnectionState.LIVE: "",
    }
    return words[standing.link]


def _leading(standing: SchedulerStatus) -> str:
    lead = f"leading, term {standing.term}, "
    if standing.held:
        return f"{lead}deciding nothing: {standing.held}"
    if standing.awaited:
        return f"{lead}giving machines time to come back before anything is decided"
    return f"{lead}deciding for {standing.machines} {'machine' if standing.machines == 1 else 'machines'}"


def _standing_by(leader: str | None) -> str:
    if leader is None:
        return "standing by, nobody leads yet"
    return f"standing by, {leader} leads" if leader else "standing by; the leader's record cannot be read"

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
    """Return what the scheduler does, in one line."""
    lead = f"leading, term {standing.term}, "
    if outage := _outage(standing):
        doing = outage
    elif standing.term and standing.held:
        doing = f"{lead}deciding nothing: {standing.held}"
    elif standing.term and standing.awaited:
        doing = f"{lead}giving machines time to come back before anything is decided"
    elif standing.term:
        doing = f"{lead}deciding for {standing.machines} {'machine' if standing.machines == 1 else 'machines'}"
    elif standing.leader is None:
        doing = "standing by, nobody leads yet"
    else:
        doing = f"standing by, {standing.leader} leads"
        if not standing.leader:
            doing = "standing by; the leader's record cannot be read"
    return "; ".join(part for part in (doing, standing.endpoints) if part)


def is_well(standing: SchedulerStatus) -> bool:
    """Whether the scheduler does its work: it decides, or stands by for another one that leads."""
    return not _outage(standing) and not standing.held and (bool(standing.term) or standing.leader is not None)


def _outage(standing: SchedulerStatus) -> str:
    """Return why it can do nothing, "" when it can."""
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

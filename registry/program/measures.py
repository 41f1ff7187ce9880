"""What agent and scheduler measure: every metric with its meaning, and how times are gathered.

Pure. docs/metrics.md is made from `METRICS`; whoever tells a metric takes it from here, so that none is told that
is not documented. No label holds what anybody may choose freely (a unit's name, an error): the number of series is
bounded by this page.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum

from registry.frozen import dataclass

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
OTHER = "other"


class Kind(StrEnum):
    """How a metric is to be read."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"
    INFO = "info"


class Teller(StrEnum):
    """Who tells a metric."""

    BOTH = "both"
    AGENT = "agent"
    SCHEDULER = "scheduler"
    LEADER = "leading scheduler"  # for the whole fleet


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `name` is as it is queried, without `_total` and `_info`, which the format adds."""

    name: str
    kind: Kind
    teller: Teller
    meaning: str
    labels: tuple[str, ...] = ()

    @property
    def queried(self) -> str:
        """The name in a query."""
        return self.name + {Kind.COUNTER: "_total", Kind.INFO: "_info"}.get(self.kind, "")


BUILD = Metric(
    "fleet_build", Kind.INFO, Teller.BOTH, "which program this is, of which version", ("program", "version")
)
REGISTRY_UP = Metric(
    "fleet_registry_up", Kind.GAUGE, Teller.BOTH, "1 while etcd answers and lets this program's user in"
)
REGISTRY_HELD = Metric(
    "fleet_registry_held", Kind.GAUGE, Teller.BOTH,
    "1 while nothing is changed because the registry's history went back (a restored backup)",
)  # fmt: skip
ENDPOINTS = Metric(
    "fleet_registry_endpoints", Kind.GAUGE, Teller.BOTH, "etcd's endpoints by whether they answer", ("state",)
)
REQUEST_SECONDS = Metric(
    "fleet_registry_request_seconds", Kind.HISTOGRAM, Teller.BOTH,
    "how long etcd took to answer, by kind of request; a watch counts until it is open", ("request",),
)  # fmt: skip
REQUEST_FAILURES = Metric(
    "fleet_registry_request_failures", Kind.COUNTER, Teller.BOTH,
    "requests that an endpoint did not answer, or refused", ("request",),
)  # fmt: skip
LEASE_REMAINING = Metric(
    "fleet_lease_remaining_seconds", Kind.GAUGE, Teller.BOTH,
    "what is left of the machine's lease, or of the leader's, by this program's own clock; 0 when it may be over",
)  # fmt: skip
RENEWAL_AGE = Metric(
    "fleet_lease_renewal_age_seconds", Kind.GAUGE, Teller.BOTH,
    "time since the last renewal of that lease which succeeded was sent",
)  # fmt: skip
CERTIFICATE = Metric(
    "fleet_certificate_expiry_timestamp_seconds", Kind.GAUGE, Teller.BOTH,
    "when a certificate that this program uses towards etcd runs out, in seconds since 1970: its own (client), or "
    "the one in ca_file that lasts longest (authority)", ("certificate",),
)  # fmt: skip
REGISTERED = Metric(
    "fleet_agent_registered", Kind.GAUGE, Teller.AGENT, "1 while this machine is in the registry, under a lease"
)
HELD_UNITS = Metric(
    "fleet_agent_units", Kind.GAUGE, Teller.AGENT,
    "units of which something is on this machine, by systemd's active state", ("active",),
)  # fmt: skip
TASKS = Metric(
    "fleet_agent_tasks", Kind.COUNTER, Teller.AGENT,
    "tasks on units that have ended, by kind and by how: done, refused (it cannot be), failed (tried again), "
    "replanned (something changed under it), interrupted", ("kind", "result"),
)  # fmt: skip
HEALTH = Metric(
    "fleet_agent_units_health", Kind.GAUGE, Teller.AGENT,
    "units of this machine that run and have a health check, by what it found: starting, healthy, unhealthy",
    ("health",),
)  # fmt: skip
LEADING = Metric("fleet_scheduler_leading", Kind.GAUGE, Teller.SCHEDULER, "1 while this scheduler leads")
DECISION_SECONDS = Metric(
    "fleet_scheduler_decision_seconds", Kind.HISTOGRAM, Teller.SCHEDULER, "how long a decision took"
)
PLACEMENTS = Metric(
    "fleet_scheduler_placements", Kind.COUNTER, Teller.SCHEDULER,
    "decisions that were written: place, move, update (of a line), withdraw, wait, clear (of a wait)", ("kind",),
)  # fmt: skip
TERM = Metric("fleet_leader_term", Kind.GAUGE, Teller.LEADER, "the term of this leader; it grows with each new one")
MACHINES = Metric(
    "fleet_machines", Kind.GAUGE, Teller.LEADER,
    "machines by state: ready, cordoned, draining, leaving, unreadable (its record), lost (gone, with units "
    "scheduled on it)", ("state",),
)  # fmt: skip
UNITS = Metric(
    "fleet_units", Kind.GAUGE, Teller.LEADER,
    "units by target (none: destroyed, or unreadable) and by systemd's active state (none: on no machine, or not "
    "known yet). One that is on several machines counts on each", ("target", "active"),
)  # fmt: skip
PENDING = Metric(
    "fleet_units_pending", Kind.GAUGE, Teller.LEADER,
    "units that wait, by the rule that the machines refuse for, or by what they wait for", ("rule",),
)  # fmt: skip
DRIFT = Metric(
    "fleet_units_drift", Kind.GAUGE, Teller.LEADER,
    "units that are not as their schedule says: a line that its machine has not carried out, or a state on a "
    "machine that should not have the unit",
)  # fmt: skip
ERRORS = Metric("fleet_units_with_error", Kind.GAUGE, Teller.LEADER, "units whose last task failed on some machine")
ROLLOUTS = Metric(
    "fleet_rollouts", Kind.GAUGE, Teller.LEADER,
    "rollouts by state: running, paused, back (units are given their old files again), over", ("state",),
)  # fmt: skip
CORRUPT = Metric("fleet_records_corrupt", Kind.GAUGE, Teller.LEADER, "records of the registry that do not parse")

METRICS = (
    BUILD, REGISTRY_UP, REGISTRY_HELD, ENDPOINTS, REQUEST_SECONDS, REQUEST_FAILURES, LEASE_REMAINING, RENEWAL_AGE,
    CERTIFICATE, REGISTERED, HELD_UNITS, HEALTH, TASKS, LEADING, DECISION_SECONDS, PLACEMENTS, TERM, MACHINES,
    UNITS, PENDING, DRIFT, ERRORS, ROLLOUTS, CORRUPT,
)  # fmt: skip


class Histogram:
    """How often something took how long, in buckets."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(SECONDS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(SECONDS, seconds)] += 1
        self.sum += seconds

    def buckets(self) -> Iterator[tuple[str, float]]:
        """Yield each bound, as the format writes it, with what took no longer."""
        total = 0
        for bound, count in zip((*map(str, SECONDS), "+Inf"), self.counts, strict=True):
            total += count
            yield bound, float(total)


@dataclass(frozen=True, slots=True)
class Sample:
    """What a metric is at one moment; `labels` are the values of the metric's labels, in order."""

    metric: Metric
    value: float | Histogram
    labels: tuple[str, ...] = ()


class RequestTimes:
    """How long etcd took, by kind of request."""

    def __init__(self) -> None:
        self._times: dict[str, Histogram] = {}
        self._failures: Counter[str] = Counter()

    def note(self, path: str, seconds: float, *, failed: bool) -> None:
        """Take in one request to a path of etcd's gateway."""
        request = REQUESTS.get(path, OTHER)
        times = self._times.get(request)
        if times is None:
            times = self._times[request] = Histogram()
        times.observe(seconds)
        if failed:
            self._failures[request] += 1

    def samples(self) -> Iterator[Sample]:
        """Yield what was counted so far."""
        for request, times in self._times.items():
            yield Sample(REQUEST_SECONDS, times, (request,))
            yield Sample(REQUEST_FAILURES, self._failures[request], (request,))


REQUESTS = {
    "/kv/range": "range", "/kv/txn": "txn", "/kv/put": "put", "/kv/deleterange": "delete", "/watch": "watch",
    "/lease/keepalive": "keepalive", "/lease/grant": "grant", "/lease/revoke": "revoke",
    "/maintenance/status": "status", "/auth/authenticate": "login",
}  # fmt: skip
ACTIVE = (
    "active", "reloading", "inactive", "failed", "activating", "deactivating", "maintenance", "refreshing",
)  # fmt: skip


def active_label(word: str) -> str:
    """Return systemd's active state as a label: "none" where it is not known, "other" for a word that is none."""
    return word if word in ACTIVE else OTHER if word else "none"

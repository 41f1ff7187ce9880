"""Which records live under a lease, and how long one without a lease may still be somebody's. Pure.

What hangs on a lease vanishes with its writer; the same key without a lease stays for ever, and shows a dead
machine or leader as alive. So the client of etcd refuses to write such a key without a lease, and one that is found
without (an older version or a hand wrote it) is taken over by its owner, or is removed once nobody has done so.
"""

from __future__ import annotations

from registry.frozen import dataclass
from registry.keys import Keys, Table

LEASED = frozenset({Table.MACHINES, Table.STATES, Table.DUPLICATES, Table.LEADER, Table.USAGE})

MARGIN_S = 5.0
TTL_S = 10.0  # of a record that does not say its own
LONGEST_S = 600.0


def leased_prefixes(keys: Keys) -> tuple[str, ...]:
    """What the keys of records that need a lease begin with."""
    return tuple(keys.leader if table is Table.LEADER else keys.table(table) for table in sorted(LEASED))


def grace_s(ttl_s: float = TTL_S) -> float:
    """How long an owner with leases of `ttl_s` gets to take its key over: it looks once in each `ttl_s`."""
    held_s = ttl_s if 1.0 <= ttl_s <= LONGEST_S else LONGEST_S if ttl_s > LONGEST_S else TTL_S
    return 3 * held_s + MARGIN_S


def leader_grace_s(ttl_s: float) -> float:
    """How long a leader with a lease of `ttl_s` gets: it watches its key, and leads for a lease at most unseen."""
    return min(ttl_s, LONGEST_S) + MARGIN_S


@dataclass(frozen=True, slots=True)
class _Found:
    mod_revision: int
    since: float
    grace_s: float


class Unleased:
    """Keys that should hang on a lease and do not, and since when. Times are of one monotonic clock, in seconds."""

    def __init__(self) -> None:
        self._found: dict[str, _Found] = {}

    def __len__(self) -> int:
        return len(self._found)

    def update(self, key: str, stamp: tuple[int, int, int] | None, now: float, within_s: float) -> None:
        """Take a key in: its create revision, mod revision and lease (0: none); None when it does not exist.

        `within_s` is how long its owner gets to take it over.
        """
        if stamp is None or stamp[2]:
            self._found.pop(key, None)
            return
        known = self._found.get(key)
        if known is None or known.mod_revision != stamp[1]:  # written again: somebody is at it
            self._found[key] = _Found(stamp[1], now, within_s)

    def keep(self, keys: set[str]) -> None:
        """Forget what a full listing does not have."""
        self._found = {key: found for key, found in self._found.items() if key in keys}

    def overdue(self, now: float) -> list[tuple[str, int]]:
        """The keys that belong to nobody by now, with their mod revisions."""
        return [(key, each.mod_revision) for key, each in self._found.items() if now >= each.since + each.grace_s]

"""What goes wrong in the registry itself: restored, wiped, compacted, garbled, or full of odd records.

The other faults break machines and members; these break what the members hold. All is written past our own client.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from fleettui.demo.cluster import Cluster
from fleettui.demo.process import ToolFailed
from tests.chaos import odd
from tests.chaos.script import Step

PREFIX = b"/fleet/"
ACCEPT_S = 30.0  # an operator tries again while schedulers and agents come back


@dataclass(frozen=True, slots=True)
class Watched:
    """What the campaign is asked (its last revision) and told (the registry will be another one, and is)."""

    revision: Callable[[], int]
    replacing: Callable[[], None]
    replaced: Callable[[], None]
    say: Callable[[str], None]


class RegistryFaults:
    """Faults of the registry's content. Snapshots are kept below `directory`."""

    VERBS = frozenset({"restore", "wipe", "write odd records to", "garble a record of", "take the lease off"})

    def __init__(self, cluster: Cluster, directory: Path, watched: Watched) -> None:
        self._cluster, self._directory, self._watched = cluster, directory, watched
        self._snapshots: list[Path] = []

    def save(self) -> None:
        """Save a snapshot; the two newest are kept, and the older one is what is restored."""
        file = self._directory / f"snapshot-{time.monotonic():.0f}.db"
        self._cluster.etcd.save(file)
        self._snapshots.append(file)
        while len(self._snapshots) > 2:
            self._snapshots.pop(0).unlink()

    def compact(self) -> None:
        """Compact away what happened, up to what the campaign itself has read."""
        self._cluster.etcd.compact(self._watched.revision())

    def begin(self, step: Step) -> None:
        """Break it."""
        match step.verb:
            case "restore":
                self._watched.replacing()
                self._restore()
            case "wipe":
                self._watched.replacing()
                self._cluster.etcd.wipe()
            case "write odd records to":
                for key, value in odd.records():
                    self._put(PREFIX + key, value=value)
            case "garble a record of":
                self._garble(step.target, Random(step.detail))
            case "take the lease off":
                self._put(PREFIX + self._leased_key(step.target), ignore_value=True)

    def heal(self, step: Step) -> None:
        """Mend it; a registry that went back is accepted as an operator would."""
        match step.verb:
            case "wipe":
                self._restore()
                self._accept()
            case "restore":
                self._accept()
            case "write odd records to":
                self._remove_odd()

    def mend(self) -> None:
        """Undo what etcd may have been too broken for when it was due."""
        self._remove_odd()

    def _remove_odd(self) -> None:
        for key, _ in odd.records():
            self._ask("deleterange", key=_text(PREFIX + key))

    def _restore(self) -> None:
        self._cluster.etcd.restore(self._snapshots[0])
        self._watched.replaced()

    def _accept(self) -> None:
        """Accept it as an operator would, who looks until the programs have said that it went back."""
        deadline = time.monotonic() + ACCEPT_S
        while True:
            done = self._cluster.fleetctl("restore", "--accept", "--yes", timeout_s=30)
            late = time.monotonic() > deadline
            if done.returncode == 0 and ("Accepted" in done.stdout or late):  # late: nobody had acted on more
                return
            if late:
                raise AssertionError(f"fleetctl restore --accept: {done.stderr.strip()[-300:]}")
            self._watched.say(f"restore --accept: {(done.stderr or done.stdout).strip()[-200:]}")
            time.sleep(1)

    def _leased_key(self, target: str) -> bytes:
        table, _, node = target.partition("/")
        return f"{table}/{self._cluster.node(node).spec.machine_id}".encode() if node else table.encode()

    def _garble(self, table: str, random: Random) -> None:
        start = PREFIX + table.encode() + b"/"
        found = self._ask("range", key=_text(start), range_end=_text(start[:-1] + b"0"), keys_only=True)
        keys = sorted(base64.b64decode(each["key"]) for each in found.get("kvs", ()))
        if not keys:
            raise ToolFailed(f"there is no record of {table}")
        self._put(random.choice(keys), value=odd.garbage(random), ignore_lease=True)

    def _put(
        self, key: bytes, *, value: bytes = b"", ignore_value: bool = False, ignore_lease: bool = False
    ) -> None:
        request = {"key": _text(key), "ignore_value": ignore_value, "ignore_lease": ignore_lease}
        if not ignore_value:
            request["value"] = _text(value)
        self._ask("put", **request)

    def _ask(self, method: str, **request: Any) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(
            self._cluster.etcd.ask("POST", f"/v3/kv/{method}", json.dumps(request).encode())
        )
        if "error" in answer:
            raise ToolFailed(f"etcd refuses {method}: {answer['error']}")
        return answer


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()

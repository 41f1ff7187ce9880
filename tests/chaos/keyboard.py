"""The operator of the campaign: carries the acts of a script out through the real `fleetctl`.

What a command answers is not judged (etcd may be away), only how: within its time, and never with a traceback.
"""

from __future__ import annotations

from pathlib import Path

from fleettui.demo.cluster import Cluster
from fleettui.demo.process import ToolFailed
from tests.chaos import crowd
from tests.chaos.script import OF_ROLLOUTS, Step

HEALTHY = ("--healthy-for", "1s")
ON_MACHINES = {
    "drain": ("drain", "--no-block"),
    "drain slowly": ("drain", "--no-block", "--at-a-time", "2", *HEALTHY),
    "cordon": ("cordon",),
}
LONGEST_S = 30.0  # for any command that need not wait for units


class Keyboard:
    """One operator. Unit files are written below `directory`."""

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        self._cluster, self._directory = cluster, directory

    def act(self, step: Step) -> str:
        """Carry one act out; how it ended, in a line. Raises AssertionError for a command that misbehaves."""
        names = step.target.split()
        if step.verb in ON_MACHINES:
            return self._ctl(*ON_MACHINES[step.verb], self._machine(step.target))
        if step.verb in OF_ROLLOUTS:
            return self._ctl("rollout", step.verb, "--no-block", step.target)
        match step.verb:
            case "submit" | "start" | "load":
                return self._ctl(step.verb, "--no-block", *self._files(names, 1))
            case "replace":
                return self._ctl("start", "--replace", "--no-block", *self._files(names, _version(step)))
            case "roll":
                return self._roll(names, _version(step))
        return self._ctl(step.verb, "--no-block", *names)

    def _roll(self, names: list[str], version: int) -> str:
        """Begin a rollout: the template's instances get another file, all others are restarted."""
        policy = ["--no-block", "--at-a-time", "2", *HEALTHY, "--max-failures", "3", "--name", f"r{version}"]
        if set(names) == set(crowd.INSTANCES):
            file = self._file(crowd.TEMPLATE, version)
            return self._ctl("rollout", *names, "--file", file, "--on-failure", "rollback", *policy)
        return self._ctl("rollout", *names, *policy)

    def take_back(self, step: Step) -> str:
        """End a drain or a cordon."""
        return self._ctl("uncordon", self._machine(step.target))

    def _machine(self, node: str) -> str:
        return self._cluster.node(node).spec.machine_id

    def _files(self, names: list[str], version: int) -> list[str]:
        """The files of units; an instance of the template goes by its name alone."""
        return [name if "@" in name and name != crowd.TEMPLATE else self._file(name, version) for name in names]

    def _file(self, name: str, version: int) -> str:
        path = self._directory / str(version) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(crowd.text(name, version))
        return str(path)

    def _ctl(self, *arguments: str) -> str:
        try:
            done = self._cluster.fleetctl(*arguments, timeout_s=LONGEST_S)
        except ToolFailed as error:
            raise AssertionError(f"fleetctl {arguments[0]} hangs: {error}") from error
        assert "Traceback" not in done.stderr, f"fleetctl {' '.join(arguments)}: {done.stderr[-500:]}"
        lines = (done.stderr or done.stdout).strip().splitlines()
        return f"{done.returncode}: {lines[-1][:120] if lines else ''}"


def _version(step: Step) -> int:
    return int(step.detail.removeprefix("version "))

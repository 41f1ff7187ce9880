"""One campaign from beginning to end: rounds of faults and acts, each followed by healing, rest and judgement."""

from __future__ import annotations

import heapq
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from fleettui.demo.cluster import Cluster
from fleettui.demo.node import Node
from registry.errors import FleetError
from tests.chaos import history, settle, witness
from tests.chaos.diary import Diary
from tests.chaos.faults import Faults
from tests.chaos.judge import BACK_S, Life, Overlap, Spell, doubles, excused, joined, read_lives, repeated
from tests.chaos.keyboard import ON_MACHINES, Keyboard
from tests.chaos.registry_faults import RegistryFaults, Watched
from tests.chaos.script import FIRST, Round, Script, Step, kind_of
from tests.chaos.turns import Turns

SETTLED_WITHIN_S = 60.0
LOOKS = 2  # in a row, without a problem, before the fleet counts as settled

# Faults that put a machine out of touch with the registry. Under "stop" only what leaves it no chance.
CUTS = {
    "keep": ("cut", "worsen", "freeze", "SIGSTOP fleet-agentd", "outrun the followers on"),
    "stop": ("freeze",),
}
# Faults that take the agent away for a moment. They excuse a machine only if its lease has ended meanwhile.
ABSENCES = {
    "keep": tuple(f"{verb} fleet-agentd" for verb in ("kill -9", "restart", "step the clock of", "run a newer")),
    "stop": (),
}
MOMENT_S = 5.0
# What is told when units are stopped for want of the registry: by the agent, by the switch that stops them in its
# place, and by the agent that finds so later (its own stops, of what had been started meanwhile).
LOSSES = (
    "stopping every unit before",
    "units: this machine's lease was not renewed",
    "lease in time: systemd has stopped",
)


@dataclass(slots=True)
class Tally:
    """What the table at the end says of the checks."""

    scans: int = 0
    lives: int = 0
    turns: int = 0
    revisions: int = 0
    looks: int = 0
    settled_s: list[float] = field(default_factory=list)


class Campaign:
    """Carries out a script on a cluster that is up and idle."""

    def __init__(self, cluster: Cluster, script: Script, diary: Diary, directory: Path) -> None:
        self.cluster, self.script, self.diary = cluster, script, diary
        self.tally = Tally()
        self._directory = directory
        self._follow = history.Follow(cluster.as_root)
        watched = Watched(
            lambda: self._follow.revision,
            self._follow.pause,
            self._follow.begin_again,
            lambda text: diary.say("note", text),
        )
        self._registry = RegistryFaults(cluster, directory, watched)
        self._faults = Faults(cluster, self._crashed, self._registry)
        self._keyboard = Keyboard(cluster, directory / "units")
        self._witness = witness.Witness(cluster, self._seen)
        self._ends: dict[str, list[float]] = defaultdict(list)
        self._spells: list[Spell] = []
        self._moments: list[Spell] = []
        self._open: dict[Step, tuple[str, float]] = {}
        self._overlaps: list[Overlap] = []
        self._handovers: Counter[tuple[str, int]] = Counter()
        self._policy = "keep"
        self._began_s = 0.0
        self._cordoned: dict[str, Step] = {}

    def run(self) -> bool:
        """Run every round; False as soon as one has shown a violation."""
        self._faults.prepare()
        self._follow.start()
        self._witness.start()
        try:
            for step in FIRST:
                self._act(step)
            self._settle()
            for number, each in enumerate(self.script.rounds, 1):
                self._round(number, each)
                if self.diary.violations:
                    return False
        finally:
            self._witness.stop()
            self._follow.stop()
            self.tally.scans, self.tally.revisions = self._witness.scans, self._follow.revision
            self._keep_history()
        return True

    def _keep_history(self) -> None:
        """The registry's history beside the diary, in the diary's time."""
        with (self._directory / "history.log").open("w", errors="backslashreplace") as file:
            for change in self._follow.changes:
                at_s = change.at_s - self.diary.began_s
                file.write(f"{at_s:9.3f}  {change.revision}  {change.address}  {change.record}\n")

    # ---- one round

    def _round(self, number: int, each: Round) -> None:
        self.diary.say("round", f"{number} of {len(self.script.rounds)}, on_lost_registry = {each.policy}")
        if each.policy != self._policy:
            before, began_s, self._policy = self._policy, time.monotonic(), each.policy
            self._faults.set_policy(each.policy)  # restarts every agent
            if before == "keep":
                self._moments += [Spell(node, began_s, time.monotonic() + MOMENT_S) for node in self.cluster.nodes]
        self._began_s = time.monotonic()
        self._registry.save()
        own = witness.own_units(self.cluster)
        self._carry_out(each)
        self.diary.say("heal", "everything")
        self._faults.mend()
        self._close_spells()
        self._settle()
        self._judge(own)

    def _carry_out(self, each: Round) -> None:
        """Do everything of the round at its time; what takes long delays nothing else."""
        due: list[tuple[float, int, Callable[[], None], str]] = []
        for step in each.faults:
            self._plan(due, step.at_s, lambda step=step: self._begin(step), "fault")  # type: ignore[misc]
            if step.for_s:
                self._plan(due, step.at_s + step.for_s, lambda step=step: self._heal(step), "fault")  # type: ignore[misc]
        for step in each.acts:
            self._plan(due, step.at_s, lambda step=step: self._act(step), "act")  # type: ignore[misc]
            if step.for_s:
                self._plan(due, step.at_s + step.for_s, lambda step=step: self._take_back(step), "act")  # type: ignore[misc]
        began_s = time.monotonic()
        waiting: list[Future[None]] = []
        with ThreadPoolExecutor(8, "fault") as faults, ThreadPoolExecutor(3, "operator") as acts:
            while due:
                at_s, _, work, who = heapq.heappop(due)
                time.sleep(max(0.0, began_s + at_s - time.monotonic()))
                waiting.append((faults if who == "fault" else acts).submit(work))
        for future in waiting:
            future.result()
        self._cordoned = {step.target: step for step in each.acts if step.verb in ON_MACHINES}

    def _plan(
        self, due: list[tuple[float, int, Callable[[], None], str]], at_s: float, work: Callable[[], None], who: str
    ) -> None:
        heapq.heappush(due, (at_s, len(due), work, who))

    def _begin(self, step: Step) -> None:
        self.diary.say("fault", step.told)
        self._note_absence(step)
        if step.verb == "stop in order":
            self._pardon(step.target.partition("@")[2])
        try:
            self._faults.begin(step)
            self.diary.faults[kind_of(step)] += 1
        except (FleetError, OSError) as error:
            self.diary.failed_faults += 1
            self.diary.say("note", f"{step.told}: {error}")

    def _heal(self, step: Step) -> None:
        self._note_moment(step, 0)
        try:
            self._faults.heal(step)
        except AssertionError as error:
            self.diary.violated(str(error))
        except (FleetError, OSError) as error:
            self.diary.say("note", f"healing of {step.told}: {error}")
        self.diary.say("healed", step.told)
        if step in self._open:
            node, since_s = self._open.pop(step)
            now_s = time.monotonic()
            self._spells.append(Spell(node, since_s, now_s))
            if (
                self._policy == "keep" and node in self.cluster.nodes
            ):  # it hears that its lease has ended no sooner than etcd is back, too
                self._moments.append(Spell(node, since_s, now_s + MOMENT_S))

    def _note_absence(self, step: Step) -> None:
        """Remember what excuses the machine that a fault is about."""
        fault, node = _subject(step)
        if fault in CUTS[self._policy]:
            self._open[step] = (node, time.monotonic())
        self._note_moment(step, step.for_s)

    def _note_moment(self, step: Step, for_s: float) -> None:
        """Remember that a fault, or its healing, restarts an agent."""
        fault, node = _subject(step)
        if fault in ABSENCES[self._policy]:
            now_s = time.monotonic()
            self._moments.append(Spell(node, now_s, now_s + for_s + MOMENT_S))

    def _act(self, step: Step) -> None:
        self._typed(step, lambda: self._keyboard.act(step))

    def _take_back(self, step: Step) -> None:
        self._typed(Step(step.at_s + step.for_s, "uncordon", step.target), lambda: self._keyboard.take_back(step))

    def _typed(self, step: Step, work: Callable[[], str]) -> None:
        self.diary.say("operator", step.told)
        self.diary.acts[step.verb] += 1
        try:
            answer = work()
        except AssertionError as error:
            self.diary.violated(str(error))
        except (FleetError, OSError) as error:
            self.diary.say("note", f"{step.told}: {error}")
        else:
            if not answer.startswith("0"):
                self.diary.say("answered", f"{step.verb}: {answer}")

    # ---- what is told from outside

    def _crashed(self, node: str) -> None:
        self._ends[node].append(time.monotonic())

    def _seen(self, overlap: Overlap) -> None:
        self._overlaps.append(overlap)

    def _pardon(self, node: str) -> None:
        self._handovers[node, len(self._ends[node])] += 1

    def _close_spells(self) -> None:
        now_s = time.monotonic()
        self._spells += [Spell(node, since_s, now_s) for node, since_s in self._open.values()]
        self._open.clear()

    # ---- judgement

    def _settle(self) -> None:
        """Wait until nothing is wrong any more, twice in a row; what is still wrong at the deadline is a violation.

        Etcd may have been away when the operator took a drain back: it is done again first.
        """
        for step in self._cordoned.values():
            self._take_back(step)
        began_s = time.monotonic()
        calm, found = 0, ["never looked"]
        while calm < LOOKS and time.monotonic() < began_s + SETTLED_WITHIN_S:
            time.sleep(0.5)
            found = settle.problems(self.cluster)
            self.tally.looks += 1
            calm = 0 if found else calm + 1
        took_s = time.monotonic() - began_s
        self.tally.settled_s.append(took_s)
        self.diary.say("settled" if calm >= LOOKS else "unsettled", f"after {took_s:.1f} s")
        for problem in found:
            self.diary.violated(f"not settled within {SETTLED_WITHIN_S:g} s: {problem}")

    def _judge(self, own: dict[str, frozenset[int]]) -> None:
        lives = self._lives()
        changes = list(self._follow.changes)
        gone = (history.absences(changes, self._id_of(spell.node), spell) for spell in self._moments)
        spells = _merged([*self._spells, *chain.from_iterable(gone)])
        for overlap in joined([*self._overlaps, *doubles(lives)]):
            if not excused(overlap, spells):
                where, length_s = " and ".join(overlap.nodes), overlap.until_s - overlap.since_s
                since_s = overlap.since_s - self.diary.began_s
                self.diary.violated(f"1: {overlap.unit} ran on {where} for {length_s:.2f} s from {since_s:.2f}")
        turns = Turns(lives, {node.spec.machine_id: node.name for node in self.cluster.nodes.values()})
        judged = *history.judge(changes), *history.unexplained(changes, time.monotonic()), *turns.judge(changes)
        for wrong in judged:
            self.diary.violated(wrong)
        self.tally.turns = turns.count
        for wrong in repeated(lives, self._allowed(), self._handovers, self._losses()):
            self.diary.violated(wrong)
        self._judge_hosts(own)
        self._judge_journals()
        self._overlaps.clear()

    def _lives(self) -> list[Life]:
        found: list[Life] = []
        for node in self.cluster.nodes.values():
            notes = [(each.at_s, each.word, each.unit, each.version) for each in witness.trace(node)]
            killed = _killed(node)
            lives, wrong = read_lives(node.name, notes, self._ends[node.name], time.monotonic(), killed)
            found += lives
            for each in wrong:
                self.diary.violated(each)
        self.tally.lives = len(found)
        return found

    def _allowed(self) -> dict[tuple[str, str, int], int]:
        node_of = {node.spec.machine_id: node.name for node in self.cluster.nodes.values()}
        return history.allowed(history.orders(list(self._follow.changes)), node_of, self._ends)

    def _losses(self) -> dict[tuple[str, int], list[float]]:
        """When units were stopped for want of the registry, or of an agent, by machine and boot."""
        found: dict[tuple[str, int], list[float]] = defaultdict(list)
        for node in self.cluster.nodes.values():
            for line in _journal(node, "-u", "fleet-agentd", "-u", "fleet-lease"):
                if any(told in line for told in LOSSES):
                    at_s = _time_of(line)
                    found[node.name, sum(end_s < at_s for end_s in self._ends[node.name])].append(at_s)
        return found

    def _id_of(self, node: str) -> str:
        return self.cluster.node(node).spec.machine_id

    def _judge_hosts(self, own: dict[str, frozenset[int]]) -> None:
        now = witness.own_units(self.cluster)
        for node, pids in own.items():
            crashed = any(end_s > self._began_s for end_s in self._ends[node])
            if not crashed and now.get(node) != pids:
                self.diary.violated(f"11: the host's own unit on {node} was touched")

    def _judge_journals(self) -> None:
        """Programs that ended by themselves or broke inside."""
        for node in self.cluster.nodes.values():
            for line in _journal(node):
                died = "fleet-" in line and "Main process exited, code=exited" in line
                broke = "Traceback" in line or "internal error" in line
                if died or broke:
                    self.diary.violated(f"{node.name}: {line[-200:]}")


def _subject(step: Step) -> tuple[str, str]:
    """What is done to which program, as in `CUTS`, and the machine."""
    program, _, node = step.target.rpartition("@")
    return f"{step.verb} {program}".strip(), node


def _journal(node: Node, *arguments: str) -> list[str]:
    """The journal of all boots of a machine, each line beginning with its monotonic time in brackets."""
    command = ["journalctl", "--no-pager", "-o", "short-monotonic", *arguments]
    return node.exec(command, timeout_s=60).stdout.splitlines()


def _time_of(line: str) -> float:
    return float(line.removeprefix("[").split("]")[0])


def _killed(node: Node) -> dict[str, list[float]]:
    """When systemd told that a command of a unit other than its main one was killed: it could not note its end."""
    found: dict[str, list[float]] = defaultdict(list)
    for line in _journal(node, "_PID=1"):
        if told := re.search(r" (chaos-\S+): Control process exited, code=killed", line):
            found[told[1]].append(_time_of(line))
    return found


def _merged(spells: list[Spell]) -> list[Spell]:
    """Spells of one machine that follow upon each other before it was back for good are one."""
    found: list[Spell] = []
    for spell in sorted(spells, key=lambda each: (each.node, each.since_s)):
        last = found[-1] if found else None
        if last and last.node == spell.node and spell.since_s <= last.until_s + BACK_S:
            found[-1] = Spell(spell.node, last.since_s, max(last.until_s, spell.until_s))
        else:
            found.append(spell)
    return found

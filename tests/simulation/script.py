"""What happens to a simulated fleet, drawn from a seed: faults and operator's acts with their times. Pure.

The same seed gives the same script. Every fault is healed after its time, so that any of them can be left out: that
is how a failing script is shrunk.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from random import Random

from tests.simulation import crowd

MACHINES, SCHEDULERS, MEMBERS = 5, 3, 3
LEADER = "the leader"  # the machine of the scheduler that leads when a step begins
QUIET_S = 12.0  # from the start to the first fault
BUSY_S = 45.0  # of a round
ACT_S = 20.0  # an operator gives up after so long
REST_S = 90.0  # at most, for a round to settle
IDLE_S = 12.0  # of watching the fleet do nothing


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens, `at_s` after the beginning of its round; healed after `for_s`."""

    at_s: float
    verb: str
    target: str = ""
    for_s: float = 0.0
    value: float = 0.0

    @property
    def is_act(self) -> bool:
        """Whether an operator does it: to a unit, a machine or a rollout, not to a program ("agent@core-1")."""
        return self.verb in ACTS and not self.target.startswith(("agent@", "scheduler@"))

    def __str__(self) -> str:
        lasting = f" for {self.for_s:g} s" if self.for_s else ""
        value = f" ({self.value:g})" if self.value else ""
        return f"{self.verb} {self.target}{value}{lasting}"


@dataclass(frozen=True, slots=True)
class Script:
    """A run: its rounds, each of which has to come to rest."""

    seed: int
    policy: str
    shuffle: float
    rounds: tuple[tuple[Step, ...], ...]
    ttl: float = 10.0  # of the agents' leases
    users: bool = False  # whether etcd asks for passwords, and lets each program do what its role may

    def dumped(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def loaded(cls, text: str) -> Script:
        data = json.loads(text)
        rounds = tuple(tuple(Step(**step) for step in each) for each in data["rounds"])
        return cls(
            data["seed"], data["policy"], data["shuffle"], rounds, data.get("ttl", 10.0), data.get("users", False)
        )


class Dice:
    """Draws by `random()` alone, which is the same in every version of Python."""

    def __init__(self, seed: str) -> None:
        self.draw = Random(seed).random
        self.focus = ""  # the machine that most faults of the round concern

    def below(self, most: int) -> int:
        return int(self.draw() * most)

    def between(self, low: float, high: float) -> float:
        """Short ones are the more frequent."""
        chance = self.draw()
        return round(low + (high - low) * chance * chance, 3)

    def one(self, things: tuple[str, ...]) -> str:
        return things[self.below(len(things))]

    def host(self) -> str:
        if self.focus and self.draw() < FOCUSED:
            return self.focus
        return f"core-{1 + self.below(MACHINES)}"

    def program(self) -> str:
        host = self.host()
        schedules = host == LEADER or int(host.rpartition("-")[2]) <= SCHEDULERS
        return f"scheduler@{host}" if schedules and self.draw() < 0.5 else f"agent@{host}"


def compose(seed: int, rounds: int = 3, *, calm: bool = False) -> Script:
    """The script of a seed; with `calm` every round is one of those that are calm."""
    dice = Dice(f"script {seed}")
    policy = "stop" if dice.draw() < 0.35 else "keep"
    shuffle = 0.2 if dice.draw() < 0.3 else 0.0
    ttl = 5.0 if dice.draw() < 0.5 else 10.0  # the schedulers' is 5 s
    users = dice.draw() < USERS
    return Script(
        seed, policy, shuffle, tuple(_round(dice, number, calm=calm) for number in range(rounds)), ttl, users
    )


def _round(dice: Dice, number: int, *, calm: bool) -> tuple[Step, ...]:
    """A round has a theme: some kinds of fault, at one pace, perhaps around one machine, with more or fewer orders.

    This is swarm testing. Where all kinds happen they delay, excuse and hide each other, and what takes two of one
    kind in a row hardly ever comes about.
    """
    if dice.draw() < CALM or calm:
        return _calm_round(dice, number)
    pace_s = (1.0, 3.0, 8.0)[dice.below(3)]  # storms and single faults find different things
    dice.focus = LEADER if (chance := dice.draw()) < 0.25 else _any_host(dice) if chance < 0.45 else ""
    kinds = [each for each, weight in FAULTS for _ in range(weight)]
    if few := FEW[dice.below(len(FEW))]:
        kinds = [kinds[dice.below(len(kinds))] for _ in range(few)]
    steps: list[Step] = []
    at_s = 0.5
    while at_s < BUSY_S:
        steps += kinds[dice.below(len(kinds))](dice, round(at_s, 3))
        at_s += dice.between(0.2, 2 * pace_s)
    if dice.draw() < RESTORES:
        steps += _back(dice, dice.between(5, 30))
    elif dice.draw() < ELSEWHERE:
        steps += _elsewhere(dice, dice.between(5, 30))
    if rest_s := ORDERS_S[dice.below(len(ORDERS_S))]:
        steps += _orders(dice, number, rest_s)
    if dice.draw() < ROLLOUTS:
        steps += _rollouts(dice, number)
    return tuple(sorted(steps, key=lambda each: each.at_s))


def _calm_round(dice: Dice, number: int) -> tuple[Step, ...]:
    """One or two courses of events, again and again, each over before the next begins: nothing hides the other."""
    dice.focus = ""
    tales = [TALES[dice.below(len(TALES))] for _ in range(1 + dice.below(2))]
    steps: list[Step] = []
    at_s = 0.5
    while at_s < BUSY_S - 2:
        steps += tales[dice.below(len(tales))](dice, round(at_s, 3))
        at_s = max(each.at_s + each.for_s for each in steps) + dice.between(0.5, 8)
    if rest_s := (0.0, 0.0, 8.0)[dice.below(3)]:
        steps += _orders(dice, number, rest_s)
    if dice.draw() < ROLLOUTS / 2:
        steps += _rollouts(dice, number)
    return tuple(sorted((each for each in steps if each.at_s < BUSY_S), key=lambda each: each.at_s))


def _orders(dice: Dice, number: int, rest_s: float) -> list[Step]:
    """What an operator orders, of all units or, again and again, of a few."""
    units = crowd.NAMES
    if dice.draw() < 0.3:
        units = tuple(dice.one(crowd.NAMES) for _ in range(4))
    steps, at_s = [], 1.0
    while at_s < BUSY_S:
        steps.append(_act(dice, round(at_s, 3), number, units))
        at_s += dice.between(0.05, rest_s)
    return steps


def _rollouts(dice: Dice, number: int) -> list[Step]:
    """Rollouts of units beside one another, of pairs, of a global one, off a machine; what else operators do."""
    steps = []
    at_s = 0.7
    while at_s < BUSY_S:
        verb = dice.one(("roll", "roll", "roll", "roll", "pause", "resume", "undo", "abort", "empty"))
        target, version = (
            dice.one(("web@", "sleep", "slow", "late", "pair", "all", "conf", "well", "ship", "crate@")),
            2 + number * 100 + dice.below(100),
        )
        if verb == "empty":
            target = _any_host(dice)
        if at_s > BUSY_S - ACT_S:  # it might come about after all has been put right
            version += crowd.is_bad(version)
        steps.append(Step(round(at_s, 3), verb, target, 0.0, float(version)))
        at_s += dice.between(0.5, 10.0)
    return steps


def _any_host(dice: Dice) -> str:
    return f"core-{1 + dice.below(MACHINES)}"


def _on_host(verb: str, low: float, high: float, value: float = 0.0) -> Drawer:
    return lambda dice, at_s: [Step(at_s, verb, dice.host(), dice.between(low, high), value)]


def _on_program(verb: str, low: float, high: float) -> Drawer:
    return lambda dice, at_s: [Step(at_s, verb, dice.program(), dice.between(low, high) if high else 0.0)]


def _fuse(dice: Dice, at_s: float) -> list[Step]:
    return [Step(at_s, "kill in the middle", dice.program(), 0.0, float(1 + int(400 * dice.draw() ** 3)))]


def _nap(dice: Dice, at_s: float) -> list[Step]:
    return [Step(at_s, "pause in the middle", dice.program(), dice.between(0.1, 20), float(1 + dice.below(200)))]


def _leave(dice: Dice, at_s: float) -> list[Step]:
    return [Step(at_s, "stop in order", f"agent@{dice.host()}", dice.between(2, 15))]


def _on_member(verb: str, low: float, high: float) -> Drawer:
    names = ("etcd-0", "etcd-1", "etcd-2", "leader")
    return lambda dice, at_s: [Step(at_s, verb, dice.one(names), dice.between(low, high))]


def _quorum(dice: Dice, at_s: float) -> list[Step]:
    verb, first, for_s = dice.one(("kill", "hang", "isolate")), dice.below(MEMBERS), dice.between(1, 18)
    return [Step(at_s, f"{verb} member", f"etcd-{(first + each) % MEMBERS}", for_s) for each in range(2)]


def _worse(dice: Dice, at_s: float) -> list[Step]:
    lost = (0.0, 0.05, 0.3)[dice.below(3)]
    return [Step(at_s, "worsen the link of", dice.host(), dice.between(2, 15), lost)]


def _clock(dice: Dice, at_s: float) -> list[Step]:
    jump = (3600.0, -3600.0, 3_456_000.0, -604_800.0)[dice.below(4)]
    return [Step(at_s, "step the clock of", dice.host(), dice.between(3, 40), jump)]


def _drift(dice: Dice, at_s: float) -> list[Step]:
    return [Step(at_s, "let drift the clocks of", dice.host(), dice.between(5, 40), 1 + (dice.draw() - 0.5) * 0.04)]


def _leader_and_machine(_dice: Dice, at_s: float) -> list[Step]:
    """The leading scheduler dies together with its machine."""
    return [Step(at_s, "crash the machine of", LEADER, 12.0)]


def _plain(verb: str) -> Drawer:
    return lambda _, at_s: [Step(at_s, verb)]


def _garble(dice: Dice, at_s: float) -> list[Step]:
    """What a program writes it puts right by itself; what an operator wrote he has to."""
    by_programs = ("schedule", "schedule", "schedule", "states", "machines", "pending", "leader")
    by_hand = ("units", "files", "contents", "overrides", "cluster")
    table = dice.one(by_programs + by_hand)
    return [Step(at_s, "garble", table, dice.between(1, 25) if table in by_hand else 0.0, dice.draw())]


def _unlease(dice: Dice, at_s: float) -> list[Step]:
    return [Step(at_s, "take the lease off", dice.one(("machines", "leader")), 0.0, dice.draw())]


def _flap(dice: Dice, at_s: float) -> list[Step]:
    """A machine comes back over a bad link after its lease has ended."""
    host, away_s = _any_host(dice) if dice.focus == LEADER else dice.host(), 10.0 + dice.between(1, 10)
    back = [Step(round(at_s + away_s, 3), "worsen the link of", host, dice.between(4, 20), 0.4)]
    return [Step(at_s, "cut", host, away_s), *(back if at_s + away_s < BUSY_S else ())]


def _loss(dice: Dice, at_s: float) -> list[Step]:
    """A machine dies, or two of them at the same time."""
    for_s = 8.0 + dice.between(1, 10)
    return [Step(at_s, "crash", host, for_s) for host in {_any_host(dice): 0, _any_host(dice): 0}]


def _no_quorum(dice: Dice, at_s: float) -> list[Step]:
    """A machine comes back after its lease has ended, and meets an etcd without a leader a little later."""
    away_s = 10.5 + dice.between(1, 8)
    back_s, first, for_s = at_s + away_s + dice.between(0, 0.5), dice.below(MEMBERS), dice.between(2, 10)
    members = [f"etcd-{(first + each) % MEMBERS}" for each in range(2)]
    hangs = [Step(round(back_s, 3), "hang member", each, for_s) for each in members]
    return [Step(at_s, "cut", _any_host(dice), away_s), *hangs]


def _deposed(dice: Dice, at_s: float) -> list[Step]:
    """A leader loses its term while there are orders; what it has sent may come after the next one has begun."""
    for_s, units = 5.5 + dice.between(0, 6), tuple(dice.one(crowd.NAMES) for _ in range(6))
    acts = [_act(dice, round(at_s + dice.draw() * 2, 3), 0, units) for _ in range(12)]
    how = dice.below(3)
    if how == 0:
        steps = [Step(at_s, "pause in the middle", f"scheduler@{LEADER}", for_s, float(1 + dice.below(60)))]
    elif how == 1:
        steps = [Step(round(at_s + dice.draw() * 2, 3), "cut", LEADER, for_s)]
    else:
        steps = [
            Step(at_s, "double the requests of", LEADER, for_s, 0.3),
            Step(round(at_s + 2, 3), "restart", f"scheduler@{LEADER}"),
        ]
    return [*steps, *acts]


def _outlived(dice: Dice, at_s: float) -> list[Step]:
    """A backup is restored under a leader that has written since; there are orders once that is accepted."""
    units, for_s = tuple(dice.one(crowd.NAMES) for _ in range(6)), 14.0 + dice.between(0, 3)
    before = [_act(dice, round(at_s + dice.draw() * 10, 3), 0, units) for _ in range(20)]
    restored_s = at_s + 10.5
    after_s = restored_s + for_s + 1.0
    after = [_act(dice, round(after_s + dice.draw() * 8, 3), 0, units) for _ in range(4)]
    return [*before, Step(restored_s, "restore the registry", "", for_s), *after]


def _back(dice: Dice, at_s: float) -> list[Step]:
    """An older state of the registry is restored, and accepted some time later."""
    return [Step(at_s, "restore the registry", "", dice.between(14, 30))]


def _elsewhere(dice: Dice, at_s: float) -> list[Step]:
    """All data is gone, or another fleet's registry is there, for some time."""
    verb, for_s = dice.one(("wipe the registry", "show another registry")), dice.between(3, 30)
    return [Step(at_s, verb, "", for_s, float(dice.below(2)) if verb == "wipe the registry" else 0.0)]


Drawer = Callable[[Dice, float], list[Step]]
FAULTS: tuple[tuple[Drawer, int], ...] = (
    (_on_program("kill", 0, 0), 4),
    (_fuse, 8),
    (_on_program("restart", 0, 0), 3),
    (_on_program("pause", 0.2, 20), 4),
    (_nap, 6),
    (_leave, 2),
    (_on_host("crash", 3, 15), 3),
    (_on_host("freeze", 1, 18), 3),
    (_on_host("cut", 0.5, 25), 5),
    (_worse, 4),
    (_on_host("double the requests of", 2, 20, 0.3), 2),
    (_flap, 4),
    (_leader_and_machine, 2),
    (_on_member("kill member", 1, 15), 2),
    (_on_member("hang member", 1, 20), 3),
    (_on_member("isolate member", 1, 15), 2),
    (_quorum, 2),
    (_clock, 2),
    (_drift, 1),
    (_plain("compact"), 2),
    (_garble, 4),
    (_unlease, 1),
    (_on_host("slow down systemd of", 2, 15, 1.0), 2),
    (_on_host("double the signals of", 5, 20, 0.3), 1),
    (_on_host("forge signals on", 4, 15), 3),
    (_on_host("reload systemd of", 0, 0), 1),
    (_on_host("execute again systemd of", 0, 0), 1),
    (_on_host("fill the disk of", 2, 12), 2),
    (_on_host("jam the ports of", 1, 15), 2),
    (_plain("expire the tokens"), 2),
    (_on_program("refuse the logins of", 0.5, 6), 2),
)
TALES: tuple[Drawer, ...] = (
    _flap, _flap, _leader_and_machine, _loss, _no_quorum, _deposed, _outlived, _quorum,
)  # fmt: skip
OF_BESIDE = 0.1  # part of what is destroyed or replaced that lies beside Quadlets
USERS = 0.3  # part of the scripts with users
CALM = 0.35  # part of the rounds in which one thing happens at a time
FEW = (0, 0, 2, 3, 3, 5, 8)  # so many kinds in a round; 0: all
FOCUSED = 0.7  # part of the faults of a round that concern its machine, where it has one
ORDERS_S = (0.0, 2.0, 8.0, 8.0)  # from one order to the next, at most; 0: there are none
RESTORES = 0.15  # part of the rounds in which the registry is restored
ELSEWHERE = 0.15  # and of the others in which it is empty or another one for a while
ROLLOUTS = 0.4  # part of the rounds in which units are rolled


def _act(dice: Dice, at_s: float, number: int, units: tuple[str, ...]) -> Step:
    verbs = (
        "start", "start", "stop", "restart", "restart", "replace", "replace", "unload", "destroy", "submit",
        "drain", "uncordon",
    )  # fmt: skip
    verb = dice.one(verbs)
    target = dice.host() if verb in ("drain", "uncordon") else dice.one(units)
    if verb in ("destroy", "replace") and dice.draw() < OF_BESIDE:
        target = dice.one(tuple(crowd.BESIDE))
    return Step(at_s, verb, target, 0.0, float(2 + number * 100 + dice.below(100)))


ROLLING = ("roll", "empty", "pause", "resume", "undo", "abort")  # the newest rollout
ACTS = (*ROLLING, "start", "stop", "restart", "replace", "unload", "destroy", "submit", "drain", "uncordon")

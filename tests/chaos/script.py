"""What a campaign will do, drawn from a seed: faults and operator's acts with their times. Pure.

The same seed and length give the same script. Times are seconds from the beginning of a round. A fault lasts
`for_s` and is healed by the end of its round; faults that would need the same thing broken twice never overlap.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from random import Random

from tests.chaos import crowd

NODES = ("core-1", "core-2", "core-3")
MEMBERS = ("etcd-1", "etcd-2", "etcd-3")
PROGRAMS = ("fleet-agentd", "fleet-scheduler")
SETTLE_S = 12.0  # of a round's time, kept for healing and settling
LONGEST_ROUND_S = 60.0
REGISTRY_S = 12.0  # what is left of a round after the registry went back, for the fleet to do something with it


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens. `target` names machines, programs (`fleet-agentd@core-1`), members or units."""

    at_s: float
    verb: str
    target: str = ""
    for_s: float = 0.0
    detail: str = ""

    @property
    def told(self) -> str:
        """The step in words."""
        lasting = f" for {self.for_s:g} s" if self.for_s else ""
        return " ".join(filter(None, (self.verb, self.target, self.detail))) + lasting


@dataclass(frozen=True, slots=True)
class Round:
    """A time of faults and acts, after which everything is healed and has to settle."""

    policy: str  # the agents' on_lost_registry
    seconds: float
    faults: tuple[Step, ...]
    acts: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Script:
    """A whole campaign."""

    seed: int
    rounds: tuple[Round, ...]

    def dumped(self) -> str:
        """As JSON, for `--replay`."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def loaded(cls, text: str) -> Script:
        """From `dumped`; rounds and steps may have been taken out by hand."""
        data = json.loads(text)
        return cls(data["seed"], tuple(_round(each) for each in data["rounds"]))


def _round(data: dict[str, object]) -> Round:
    steps = {name: tuple(Step(**each) for each in data[name]) for name in ("faults", "acts")}  # type: ignore[attr-defined]
    return Round(str(data["policy"]), float(str(data["seconds"])), **steps)


def compose(seed: int, seconds: float) -> Script:
    """The script of a seed for about so many seconds. Half of its rounds have the policy "stop"."""
    random = Random(seed)
    count = max(2, round(seconds / LONGEST_ROUND_S))
    busy_s = max(12.0, seconds / count - SETTLE_S)
    rounds, begun = [], list[str]()
    for number in range(count):
        policy = ("keep", "stop")[(number + seed) % 2]
        faults = tuple(_faults(random, busy_s))
        acts = tuple(_acts(random, busy_s, number, begun))
        begun = [step.detail.replace("version ", "r") for step in acts if step.verb == "roll"]
        rounds.append(Round(policy, busy_s, faults, acts))
    return Script(seed, tuple(rounds))


# ---- faults


@dataclass(slots=True)
class Desk:
    """What is broken until when, so that no two faults need the same thing."""

    random: Random
    end_s: float
    busy_until: dict[str, float] = field(default_factory=dict)

    def lasting(self, low: float, high: float, at_s: float) -> float:
        """A length that ends within the round; short ones are the more frequent."""
        chance = self.random.random()
        wanted = low + (high - low) * chance * chance
        return round(max(0.5, min(wanted, self.end_s - at_s)), 1)

    def take(self, things: list[str], at_s: float, for_s: float) -> bool:
        """Reserve things, with some time to recover; False when one is taken."""
        if any(self.busy_until.get(each, 0.0) > at_s for each in things):
            return False
        self.busy_until.update(dict.fromkeys(things, at_s + for_s + 1.0))
        return True


Drawer = Callable[[Desk, float], Step | None]


def _faults(random: Random, busy_s: float) -> Iterator[Step]:
    desk = Desk(random, busy_s)
    at_s = 1.0
    while at_s < busy_s - 2.0:
        drawn = random.choices(list(FAULTS), [weight for _, weight in FAULTS.values()])[0]
        if step := FAULTS[drawn][0](desk, round(at_s, 1)):
            yield step
        at_s += random.expovariate(1 / 1.6)


def _on_machine(verb: str, low: float, high: float) -> Drawer:
    def draw(desk: Desk, at_s: float) -> Step | None:
        node, for_s = desk.random.choice(NODES), desk.lasting(low, high, at_s)
        things = [f"{part} {node}" for part in ("link", "disk", *PROGRAMS)]
        return Step(at_s, verb, node, for_s) if desk.take(things, at_s, for_s + 4.0) else None

    return draw


def _on_link(verb: str, low: float, high: float) -> Drawer:
    def draw(desk: Desk, at_s: float) -> Step | None:
        end, for_s = desk.random.choice(NODES), desk.lasting(low, high, at_s)
        detail = ""
        if verb == "worsen":
            loss, delay_ms = desk.random.choice([5, 15, 30]), desk.random.choice([20, 100, 300])
            detail = f"loss={loss}% delay={delay_ms}ms seed={desk.random.getrandbits(16)}"
        return Step(at_s, verb, end, for_s, detail) if desk.take([f"link {end}"], at_s, for_s) else None

    return draw


def _on_program(verb: str, low: float, high: float) -> Drawer:
    def draw(desk: Desk, at_s: float) -> Step | None:
        program, node = desk.random.choice(PROGRAMS), desk.random.choice(NODES)
        for_s = desk.lasting(low, high, at_s) if high else 0.0
        detail = desk.random.choice(["+3600s", "-3600s", "+40d", "-7d"]) if verb == "step the clock of" else ""
        taken = desk.take([f"{program} {node}"], at_s, for_s + 1.5)
        return Step(at_s, verb, f"{program}@{node}", for_s, detail) if taken else None

    return draw


def _leave(desk: Desk, at_s: float) -> Step | None:
    node, for_s = desk.random.choice(NODES), desk.lasting(2, 8, at_s)
    taken = desk.take([f"fleet-agentd {node}"], at_s, for_s + 2.0)
    return Step(at_s, "stop in order", f"fleet-agentd@{node}", for_s) if taken else None


def _fill(desk: Desk, at_s: float) -> Step | None:
    node, for_s = desk.random.choice(NODES), desk.lasting(3, 10, at_s)
    return Step(at_s, "fill the disk of", node, for_s) if desk.take([f"disk {node}"], at_s, for_s) else None


def _on_member(verb: str, low: float, high: float) -> Drawer:
    def draw(desk: Desk, at_s: float) -> Step | None:
        member, for_s = desk.random.choice((*MEMBERS, "leader")), desk.lasting(low, high, at_s)
        things = list(MEMBERS) if member == "leader" else [member]
        target = "etcd's leader" if member == "leader" else member
        return Step(at_s, verb, target, for_s) if desk.take(things, at_s, for_s + 2.0) else None

    return draw


def _on_quorum(verb: str, low: float, high: float) -> Drawer:
    def draw(desk: Desk, at_s: float) -> Step | None:
        chosen, for_s = sorted(desk.random.sample(MEMBERS, 2)), desk.lasting(low, high, at_s)
        return Step(at_s, verb, " ".join(chosen), for_s) if desk.take(list(MEMBERS), at_s, for_s + 2.0) else None

    return draw


def _followers(desk: Desk, at_s: float) -> Step | None:
    node, for_s = desk.random.choice(NODES), desk.lasting(3, 10, at_s)
    taken = desk.take([f"{program} {node}" for program in PROGRAMS], at_s, for_s + 1.5)
    return Step(at_s, "outrun the followers on", node, for_s) if taken else None


def _forge(desk: Desk, at_s: float) -> Step | None:
    node, for_s = desk.random.choice(NODES), desk.lasting(4, 15, at_s)
    taken = desk.take([f"bus {node}"], at_s, for_s)
    return Step(at_s, "forge signals on", node, for_s, f"seed {desk.random.getrandbits(16)}") if taken else None


def _odd(desk: Desk, at_s: float) -> Step | None:
    for_s = desk.lasting(3, 20, at_s)
    taken = desk.take(["odd records"], at_s, for_s)
    return Step(at_s, "write odd records to", "the registry", for_s) if taken else None


def _garble(desk: Desk, at_s: float) -> Step | None:
    table = desk.random.choice(["schedule", "pending", "states", "machines", "leader"])
    return Step(at_s, "garble a record of", table, detail=f"seed {desk.random.getrandbits(16)}")


def _unlease(desk: Desk, at_s: float) -> Step | None:
    return Step(at_s, "take the lease off", desk.random.choice(["leader", *(f"machines/{node}" for node in NODES)]))


def _registry(verb: str, low: float, high: float) -> Drawer:
    """The whole registry goes back; nothing else is done to etcd until the round is over."""

    def draw(desk: Desk, at_s: float) -> Step | None:
        for_s = desk.lasting(low, high, at_s)
        if at_s + for_s + REGISTRY_S > desk.end_s:
            return None
        taken = desk.take(list(MEMBERS), at_s, desk.end_s)
        return Step(at_s, verb, "etcd", for_s) if taken else None

    return draw


FAULTS: dict[str, tuple[Drawer, int]] = {  # by the name in the table at the end: how it is drawn, how often
    "kill -9 a program": (_on_program("kill -9", 0, 0), 5),
    "restart a program": (_on_program("restart", 0, 0), 2),
    "SIGSTOP a program": (_on_program("SIGSTOP", 1, 12), 4),
    "step a program's clock": (_on_program("step the clock of", 4, 12), 2),
    "stop an agent in order": (_leave, 2),
    "crash a machine": (_on_machine("crash", 1, 10), 2),
    "freeze a machine": (_on_machine("freeze", 1, 12), 2),
    "cut a link": (_on_link("cut", 1, 15), 4),
    "lose and delay packets": (_on_link("worsen", 3, 15), 3),
    "fill /run": (_fill, 2),
    "kill -9 an etcd member": (_on_member("kill -9", 1, 8), 2),
    "SIGSTOP an etcd member": (_on_member("SIGSTOP", 1, 8), 2),
    "cut an etcd member": (_on_member("cut", 1, 8), 2),
    "lose etcd's quorum": (_on_quorum("kill -9", 2, 15), 1),
    "hang etcd's quorum": (_on_quorum("SIGSTOP", 2, 15), 1),
    "compact under frozen followers": (_followers, 2),
    "restore etcd from a snapshot": (_registry("restore", 4, 12), 2),
    "wipe etcd, then restore it": (_registry("wipe", 4, 12), 1),
    "write odd records": (_odd, 2),
    "garble a record": (_garble, 2),
    "take a lease off its key": (_unlease, 2),
    "forge signals": (_forge, 2),
    "run a newer version": (_on_program("run a newer", 4, 15), 2),
}


KINDS = {
    "outrun the followers on": "compact under frozen followers",
    "restore": "restore etcd from a snapshot",
    "wipe": "wipe etcd, then restore it",
    "write odd records to": "write odd records",
    "garble a record of": "garble a record",
    "take the lease off": "take a lease off its key",
    "forge signals on": "forge signals",
    "run a newer": "run a newer version",
}


def kind_of(step: Step) -> str:
    """The name of a fault in the table at the end."""
    if step.verb in KINDS:
        return KINDS[step.verb]
    about_etcd = step.target.startswith("etcd")
    if about_etcd and " etcd-" in step.target:
        return "hang etcd's quorum" if step.verb == "SIGSTOP" else "lose etcd's quorum"
    words = {
        "kill -9": "kill -9 an etcd member" if about_etcd else "kill -9 a program",
        "SIGSTOP": "SIGSTOP an etcd member" if about_etcd else "SIGSTOP a program",
        "cut": "cut an etcd member" if about_etcd else "cut a link",
        "restart": "restart a program",
        "step the clock of": "step a program's clock",
        "stop in order": "stop an agent in order",
        "crash": "crash a machine",
        "freeze": "freeze a machine",
        "worsen": "lose and delay packets",
        "fill the disk of": "fill /run",
    }
    return words[step.verb]


# ---- the operator

FIRST = (Step(0.0, "submit", crowd.TEMPLATE), Step(0.0, "start", " ".join(crowd.NAMES), detail="version 1"))
"""What is done before the first fault."""

ACTS = {
    "start": 9,
    "replace": 3,
    "stop": 3,
    "restart": 2,
    "unload": 1,
    "load": 1,
    "destroy": 2,
    "drain": 1,
    "drain slowly": 1,
    "cordon": 1,
    "roll": 5,
    "pause": 1,
    "resume": 1,
    "undo": 1,
    "abort": 1,
}
OF_ROLLOUTS = ("pause", "resume", "undo", "abort")


def _acts(random: Random, busy_s: float, number: int, begun: Sequence[str]) -> Iterator[Step]:
    """The acts of a round. What was `begun` to be rolled in the round before may wait for ever: it is aborted."""
    at_s, serial = 1.0, 0
    machine_free_s, rolled = 0.0, (number + 1) * 1000
    yield from (Step(0.1, "abort", name) for name in begun)
    yield Step(0.5, "roll", " ".join(crowd.INSTANCES), detail=f"version {rolled}")  # one is always under way
    while at_s < busy_s:
        verb = random.choices(list(ACTS), list(ACTS.values()))[0]
        serial += 1
        if verb in OF_ROLLOUTS:
            yield Step(round(at_s, 1), verb, f"r{rolled}")
        elif verb in ("drain", "drain slowly", "cordon"):
            for_s = round(max(1.0, min(random.uniform(3, 12), busy_s - at_s)), 1)
            if at_s >= machine_free_s:
                yield Step(round(at_s, 1), verb, random.choice(NODES), for_s)
                machine_free_s = at_s + for_s + 1.0
        else:
            version = (number + 1) * 1000 + serial
            rolled = version if verb == "roll" else rolled
            yield Step(round(at_s, 1), verb, " ".join(_names(random, verb)), detail=f"version {version}")
        at_s += random.expovariate(1 / 1.5)


def _names(random: Random, verb: str) -> list[str]:
    if verb == "roll" and random.random() < 0.4:
        return list(crowd.INSTANCES)
    offered = [name for name in crowd.NAMES if verb != "replace" or "@" not in name]
    return sorted(random.sample(offered, random.choice([1, 1, 2, 4])))

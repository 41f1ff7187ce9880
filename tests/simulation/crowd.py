"""The units of a simulated fleet: their texts, and what each may rightfully do. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from registry.units.content import ConfigContent
from registry.units.name import is_quadlet, service_of

BEHAVIOUR = "behaviour"  # the file of a config that says how its units behave


@dataclass(frozen=True, slots=True)
class Kind:
    """One sort of unit: how it behaves (`simulate`), what its [X-Fleet] section asks for, what to expect of it."""

    simulate: str = "kind=sleeper stop=0.2"
    fleet: str = ""
    stays: bool = True  # once started it is up until it is stopped
    vanishes: bool = False  # it ends well by itself, and systemd forgets that it ever ran
    everywhere: bool = False  # runs on all machines
    nowhere: bool = False  # no machine fits
    rival: bool = False  # waits while its rival runs
    only: str = ""  # the one machine that fits
    follows: str = ""  # the unit on whose machine it runs
    stop_s: float = 0.2
    beside: tuple[str, ...] = ()  # the Quadlets that its file names

    @property
    def starts(self) -> bool:
        """Whether it can be started: systemd has it."""
        return self.simulate != "kind=refused"

    @property
    def checked(self) -> bool:
        """Whether its file names a health check."""
        return "HealthCheck=" in self.fleet


SLEEPER = Kind()
SLOW = Kind("kind=sleeper stop=2", stop_s=2.0)
STUBBORN = Kind("kind=sleeper stop=5", stop_s=5.0)
LATE = Kind("kind=sleeper start=3 stop=0.5", stop_s=0.5)

BAD = Kind("kind=fails life=0.4", stays=False)
CHECK_S, CHECKS = 2.0, 2  # from one health check to the next; so many fail before a unit is sick
HOW_OFTEN = f"HealthInterval={CHECK_S:g}\nHealthTimeout=0.5\nHealthRetries={CHECKS - 1}\n"
CONFIG, SECRET = "app", "key"  # of the units that have one, "conf1.service" and so on


def _checked(how: str, port: int) -> Kind:
    return Kind(f"kind=sleeper stop=0.2 port={port}", f"HealthCheck={how}://127.0.0.1:{port}\n{HOW_OFTEN}")


KINDS: dict[str, Kind] = {
    **{f"sleep{number}.service": SLEEPER for number in range(1, 17)},
    **{f"web@{number}.service": SLEEPER for number in range(1, 7)},
    **{f"slow{number}.service": SLOW for number in range(1, 4)},
    **{f"conf{number}.service": Kind(fleet=f"Config={CONFIG}\nSecret={SECRET}\n") for number in range(1, 4)},
    "well1.service": _checked("http", 8001),
    "well2.service": _checked("http", 8002),
    "well3.service": _checked("tcp", 8003),
    "stubborn.service": STUBBORN,
    "late1.service": LATE,
    "late2.service": LATE,
    "once.service": Kind("kind=oneshot life=1", stays=False, vanishes=True),
    "brief.service": Kind("kind=sleeper life=3 stop=0.1", stays=False, vanishes=True),
    "fail.service": Kind("kind=fails life=0.5", stays=False),
    "missing.service": Kind("kind=missing", stays=False),
    "hang.service": Kind("kind=hangs", stays=False),
    "crash.service": Kind("kind=fails life=2 restart=yes", stays=False),
    "pinned.service": Kind(fleet="MachineMetadata=node=2\n", only="core-2"),
    "mars.service": Kind(fleet="MachineMetadata=planet=mars\n", nowhere=True),
    "rival1.service": Kind(fleet="Conflicts=rival*\n", rival=True),
    "rival2.service": Kind(fleet="Conflicts=rival*\n", rival=True),
    "pair1a.service": SLEEPER,
    "pair1b.service": Kind(fleet="MachineOf=pair1a.service\n", follows="pair1a.service"),
    "pair2a.service": SLEEPER,
    "pair2b.service": Kind(fleet="MachineOf=pair2a.service\n", follows="pair2a.service"),
    "all.service": Kind(fleet="Global=true\n", everywhere=True),
    "ship1.container": Kind(beside=("data.volume", "app.network")),
    "ship2.container": Kind(beside=("data.volume",)),
    "crate@1.container": Kind(beside=("app.network",)),
    "crate@2.container": Kind(),
    "odd.container": Kind("kind=refused", stays=False),
}
BESIDE = {  # what lies beside those: nobody starts it, and its service is up for as long as one of them needs it
    "base.image": "[Image]\nImage=registry.example/base",
    "data.volume": "[Volume]\nDriver=image\nImage=base.image",
    "app.network": "[Network]\nDriver=bridge",
}
HOST_UNIT = "host.service"  # a name that belongs to the machines themselves
NAMES = tuple(KINDS)
FLEETS_NAMES = {service_of(name): name for name in (*KINDS, *BESIDE) if is_quadlet(name)}  # of systemd's units


def is_bad(version: int) -> bool:
    """Whether a version of what is rolled out fails soon after its start."""
    return version % 5 == 0


def text(unit: str, version: int, *, bad: bool = False) -> str:
    """A unit's file in one of its versions; a bad one ends soon after its start, or is up and never well."""
    if unit in BESIDE:
        return f"# simulate: kind=kept\n{BESIDE[unit]}\nLabel=version={version}\n"
    usual = KINDS.get(unit, SLEEPER)
    simulate, fleet = usual.simulate, f"\n[X-Fleet]\n{usual.fleet}" if usual.fleet else ""
    if bad:
        sick = f"{simulate} sick=yes" + (" port=0" if "tcp:" in usual.fleet else "")  # a connection is all it takes
        simulate = sick if usual.checked else BAD.simulate
    start = "Type=oneshot\n" if "oneshot" in simulate else ""
    section = f"[Service]\n{start}ExecStart=/bin/sleep infinity\n"
    if is_quadlet(unit):
        named = (
            f"Volume={each}:/data\n" if each.endswith(".volume") else f"Network={each}\n" for each in usual.beside
        )
        section = f"[Container]\nImage=registry.example/{unit.partition('.')[0]}\n{''.join(named)}"
    return f"# simulate: {simulate}\n[Unit]\nDescription={unit}, version {version}\n\n{section}{fleet}"


def config(version: int, *, bad: bool = False) -> ConfigContent:
    """The config of the units that have one, in one of its versions."""
    how = f"# simulate: {(BAD if bad else SLEEPER).simulate}\n"
    return ConfigContent({BEHAVIOUR: how.encode()}, {"VERSION": str(version)})

"""Every scene of the console that is looked at: one table for the pictures in screenshots/ and the tests of them.

A scene is played by real keys over a scripted registry, scripted machines and a clock that stands still.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from fleettui.console.journal import Remark, Wanted
from fleettui.console.journal.sources import LinkNews
from fleettui.console.pages.bands import FleetIdentity
from fleettui.console.sources.losses import LossWatch
from registry.errors import RegistryUnavailable
from registry.keys import DEFAULT_KEYS
from registry.mirror import Snapshot
from registry.model import (
    Availability,
    Config,
    ConfigVersion,
    Crash,
    Event,
    Override,
    Rollout,
    RolloutState,
    RolloutStep,
    Secret,
    StepFailure,
    Target,
    UnitText,
    Usage,
)
from registry.sync.follow import ConnectionState
from registry.units.content import ConfigContent, config_text, content_hash, secret_text
from registry.units.file import file_hash
from registry.units.pins import Need, NeedKind, pinned
from tests.console.fleetshow import CORES, EXPORTER, NOW, PLAIN, Stage, build, entry, scene, state
from tests.console.pastshow import busy, remembered
from tests.console.picture import readable

SMALL, WIDE = (80, 24), (140, 40)
SIZES = {"80x24": SMALL, "140x40": WIDE}
THEMES = ("dark", "light")
PATIENCE_S = 60.0
STILL = 6  # looks at the screen in a row that must be alike
LOST = "http://10.91.0.1:2379: timed out"


# What the registry holds


def lively() -> Snapshot:
    """The fleet with what its machines and units use."""
    world, usage = scene(), {}
    for number, core in CORES.items():
        units = tuple(
            (unit, (18 + 7 * at) << 20, 0.012 * (at + number) ** 2)
            for at, (machine, unit) in enumerate(sorted(world.states))
            if machine == core and world.states[machine, unit].active == "active"
        )
        load = (0.3 * number, 0.25 * number, 0.2)
        usage[core] = Usage(
            core, NOW - 3, load, 8 << 30, (7 - number) << 30, units, pressure=(0.3 * number, 0.0, 5.0 * number),
            disk_bytes=40 << 30, disk_free_bytes=(28 - 12 * (number - 1)) << 30,
        )  # fmt: skip
    return replace(world, usage=usage)


def storied() -> Snapshot:
    """db.service had another file before."""
    old = "[Unit]\nDescription=Reports\n\n[Service]\nExecStart=/usr/bin/report --quick\nUser=report\n"
    world = lively()
    unit = replace(world.units["db.service"], history=(file_hash(old),), generation=2)
    files = {**world.files, file_hash(old): UnitText(file_hash(old), old)}
    return replace(world, units={**world.units, "db.service": unit}, files=files)


def drained() -> Snapshot:
    """core-1 is being emptied."""
    order = Override(CORES[1], Availability.DRAINING, by="root@laptop", at=NOW - 20)
    return replace(lively(), overrides={CORES[1]: order})


class Known(LossWatch):
    """Knows what the loss of core-2 would mean."""

    def worst(self) -> tuple[str, int] | None:
        return CORES[2], 3

    async def run(self) -> None:
        """Ask nothing."""


def bereft() -> Snapshot:
    """core-3 is gone."""
    world = lively()
    machines = {key: each for key, each in world.machines.items() if key != CORES[3]}
    states = {pair: each for pair, each in world.states.items() if pair[0] != CORES[3]}
    return replace(world, machines=machines, states=states)


def leaderless() -> Snapshot:
    """No scheduler leads."""
    return replace(lively(), leader=None)


def empty() -> Snapshot:
    """Three machines and no unit."""
    return build({}, [], [])


def deserted() -> Snapshot:
    """No machine, no unit."""
    return replace(build({}, [], []), machines={}, leader=None)


SHOP, BAD = "[Service]\nExecStart=/usr/bin/shop --port 80%i\n", "[Service]\nExecStart=/usr/bin/shop --prot 80%i\n"

STAYING = "[Service]\nExecStart=/usr/bin/vault\n\n[X-Fleet]\nSticky=true\n"


def rolling(*, failed: bool = False) -> Snapshot:
    """Six instances of shop@ get another file two at a time; `failed`: the third could not take it."""
    names = [f"shop@{number}.service" for number in range(1, 7)]
    old, new = file_hash(SHOP), file_hash(BAD)
    world = build(
        {"shop@.service": (SHOP, Target.INACTIVE), **dict.fromkeys(names, (SHOP, Target.LAUNCHED))},
        [(name, at % 3 + 1) for at, name in enumerate(names)], [],
    )  # fmt: skip
    turned = names[:3] if failed else names[:4]
    units = {
        name: replace(unit, hash=new, generation=2, by="rollout shop-2", history=(old,)) if name in turned else unit
        for name, unit in world.units.items()
    }
    fallen = {"active": "failed", "sub": "failed", "result": "exit-code", "exit_code": 2, "main_pid": 0}
    states = {}
    for at, name in enumerate(names):
        more: dict[str, object] = {"hash": new, "generation": 2, "since": NOW - 4} if name in turned else {}
        found = state(name, at % 3 + 1, SHOP, **more, **(fallen if failed and at == 2 else {}))
        states[found.machine, name] = found
    steps = tuple(RolloutStep(name, old, new, 1, at) for at, name in enumerate(names))
    why = "it failed on core-3 (exit-code, exit status 2)"
    trouble = (StepFailure(names[2], why, CORES[3]),) if failed else ()
    now = Rollout(
        "shop-2", steps, RolloutState.PAUSED if failed else RolloutState.RUNNING, at_a_time=2, healthy_for_s=10,
        settled=tuple(names[:2]), failed=trouble, by="root@laptop", at=NOW - 45,
        note=f"{names[2]} failed: {why}" if failed else "",
    )  # fmt: skip
    past = [
        Rollout("web-restart", tuple(RolloutStep(f"web@{n}.service", old, old, 0, n) for n in (1, 2, 3)),
                RolloutState.FINISHED, settled=tuple(f"web@{n}.service" for n in (1, 2, 3)), by="root@laptop",
                at=NOW - 4000),
        Rollout("db-20260920", (RolloutStep("db.service", old, new, 0),), RolloutState.FINISHED, back=True,
                settled=("db.service",), note="db.service failed: it failed on core-2 (exit-code)", by="ci@build",
                at=NOW - 80_000),
    ]  # fmt: skip
    schedule = {
        pair: replace(line, hash=units[pair[1]].hash, generation=units[pair[1]].generation)
        for pair, line in world.schedule.items()
    }
    files = {**world.files, new: UnitText(new, BAD)}
    rollouts = {each.name: each for each in (now, *past)}
    return replace(world, units=units, states=states, schedule=schedule, files=files, rollouts=rollouts)


def crowded() -> Snapshot:
    """Eight instances of shop@ are on one machine, since the others came later; some units may not be moved."""
    shops = [f"shop@{number}.service" for number in range(1, 9)]
    texts = {**dict.fromkeys(shops, SHOP), "exporter.service": EXPORTER, "vault.service": STAYING,
             "db.service": PLAIN}  # fmt: skip
    places = [*((name, 1) for name in [*shops, "vault.service"]), ("db.service", 2),
              *(("exporter.service", number) for number in CORES)]  # fmt: skip
    return build(
        {name: (text, Target.LAUNCHED) for name, text in texts.items()}, places,
        [state(name, number, texts[name]) for name, number in places],
    )  # fmt: skip


def stopped() -> Snapshot:
    """A bad version stopped at its third unit."""
    return rolling(failed=True)


CONFIGS = {  # contents of configs, newest first, by name
    "shop": (
        ConfigContent({"shop.toml": b"[cart]\nlimit = 40\n"}, {"PORT": "8080", "MODE": "fast"}),
        ConfigContent({"shop.toml": b"[cart]\nlimit = 20\n"}, {"PORT": "8080"}),
    ),
    "motd": (ConfigContent({"motd": b"maintenance on Sunday\n"}),),
}
SEALED = {"pay-key": ("3fa9c12e44b0d1a7", bytes(304))}  # by name: for which key, and the sealed bytes


def stored_texts() -> dict[str, tuple[str, ...]]:
    """The texts as stored, newest first: of "config shop", "secret pay-key"."""
    found = {f"config {name}": tuple(config_text(name, each) for each in all_) for name, all_ in CONFIGS.items()}
    return found | {f"secret {name}": (secret_text(name, *sealed),) for name, sealed in SEALED.items()}


def configured() -> Snapshot:
    """Four instances of shop@, two of which have an older version of their config."""
    texts = stored_texts()
    hashes = {key: [content_hash(text) for text in every] for key, every in texts.items()}

    def unit_text(age: int) -> str:
        asking = f"{SHOP}\n[X-Fleet]\nConfig=shop\nSecret=pay-key\n"
        return pinned(asking, "shop@1.service", lambda need: hashes[str(Need(need.kind, need.name))][
            age if need.kind is NeedKind.CONFIG else 0])  # fmt: skip

    units = {f"shop@{number}.service": (unit_text(int(number > 2)), Target.LAUNCHED) for number in range(1, 5)}
    units["shop@.service"] = (unit_text(0), Target.INACTIVE)
    places = [(f"shop@{number}.service", number % 3 + 1) for number in range(1, 5)]
    world = build(units, places, [state(name, number, units[name][0]) for name, number in places])

    def versions(key: str, summaries: Sequence[str]) -> tuple[ConfigVersion, ...]:
        many = len(hashes[key])
        return tuple(
            ConfigVersion(
                sha, many - at, "ann@laptop" if at else "ci@build", NOW - 400 - 90_000 * at, summaries[at]
            )
            for at, sha in enumerate(hashes[key])
        )

    config = {name: Config(name, versions(f"config {name}", [each.summary for each in every]))
              for name, every in CONFIGS.items()}  # fmt: skip
    secrets = {name: Secret(name, versions(f"secret {name}", ["sealed"])) for name in SEALED}
    events = {f"{at}/u:ann": Event(str(at), NOW - 400, "ci@build", "config", "", "", f"config shop: version {at}")
              for at in (1, 2)}  # fmt: skip
    return replace(world, config=config, secrets=secrets, events={**world.events, **events})


async def read_stored(kind: NeedKind, name: str, version: ConfigVersion) -> str:
    """What a version holds."""
    return next(text for text in stored_texts()[f"{kind.lower()} {name}"] if content_hash(text) == version.hash)


HOLDING: dict[str, Any] = {"contents": read_stored}


# What happens meanwhile


def told(stage: Stage) -> None:
    """The agent kept what the bad version said."""
    lines = (
        (NOW - 5, 6, 1, "systemd", "Started shop@3.service."),
        (NOW - 4.9, 3, 903, "shop", "unknown option --prot; did you mean --port?"),
        (NOW - 4.9, 6, 1, "systemd", "shop@3.service: Main process exited, code=exited, status=2/INVALIDARGUMENT"),
        (NOW - 4.8, 4, 1, "systemd", "shop@3.service: Failed with result 'exit-code'."),
    )
    when = f"{int((NOW - 4.8) * 1000):013d}-shop@3.service"
    stage.journals.crashes = [Crash(CORES[3], when, "core-3", "exit code 2", lines=lines)]


def cut(stage: Stage) -> None:
    """The registry is out of reach."""
    stage.feed.put(lively(), ConnectionState.LOST, LOST)


def unreachable(stage: Stage) -> None:
    """It was out of reach from the beginning."""
    stage.feed.put(Snapshot(), ConnectionState.LOST, LOST)


def broken_link(stage: Stage) -> None:
    """The way to one machine's journal broke."""
    stage.journals.more.put_nowait([
        LinkNews("core-2", "no answer from core-2 (10.91.0.12) within 10 s"),
        Remark("core-2: no answer within 10 s; trying again"),
    ])  # fmt: skip


def crashed(stage: Stage) -> None:
    """db.service failed on a machine that has gone since; its agent had kept the last lines."""
    lines = (
        (NOW - 91, 6, 401, "db", "checkpoint complete: 312 buffers"),
        (NOW - 75, 4, 401, "db", "no space left for the log; trying again"),
        (NOW - 72.5, 2, 401, "db", "cannot write to the log: No space left on device"),
        (NOW - 72, 6, 1, "systemd", "db.service: Main process exited, code=exited, status=74/IOERR"),
        (NOW - 72, 4, 1, "systemd", "db.service: Failed with result 'exit-code'."),
    )
    when = f"{int((NOW - 72) * 1000):013d}-db.service"
    stage.journals.crashes = [Crash(CORES[3], when, "core-3", "exit code 74", lines=lines)]
    stage.main.dock.reader.again()


def json_lines(stage: Stage) -> None:
    """A program that writes JSON, and one that writes colours."""
    web = Wanted(stage.main.fleet.reading.snapshot.machines[CORES[1]], "web@1.service")
    said = (
        '{"level":"info","msg":"order placed","user":42,"order":{"id":7731,"total":"19.90"}}',
        '{"level":"warn","msg":"payment is slow","user":42,"ms":1840,"upstream":"pay-2"}',
        '{"level":"error","msg":"payment failed","user":42,"upstream":"pay-2","http":{"status":502}}',
        "\x1b[32mINFO\x1b[0m  worker 3 took job 118  \x1b[2mqueue=mail\x1b[0m",
        "\x1b[1;31mFATAL\x1b[0m cannot reach \x1b[36mpay-2\x1b[0m, and \x1b[2J is shown",
        "user=42 path=/cart took 12 ms",
    )
    stage.journals.more.put_nowait(
        [replace(entry(web, number, text), priority=6) for number, text in enumerate(said)]
    )


def long_ago(stage: Stage) -> None:
    """A line that was written long before those that are read at first."""
    web = Wanted(stage.main.fleet.reading.snapshot.machines[CORES[1]], "web@1.service")
    first = entry(web, 1)
    for number in range(4000):
        told = ("card 4711 declined by pay-2", 4) if number == 900 else (f"GET /item/{number} 200 3 ms", 6)
        at = first.at - (4000 - number) * 900_000
        stage.journals.archive.append(
            replace(first, at=at, cursor=f"old{number}", message=told[0], priority=told[1])
        )


def many_lines(stage: Stage) -> None:
    """The journal goes on while the reader is above its end."""
    stage.journals.more.put_nowait([Remark(f"line {number}") for number in range(60)])


def refused(stage: Stage) -> None:
    """The next write fails."""
    stage.port.error = RegistryUnavailable("no endpoint answered in time; is etcd up at http://10.91.0.1:2379?")


@dataclass(frozen=True, slots=True)
class Scene:
    """What is played before a picture is taken, and a text that must be in it.

    `world` None: the registry has not answered. `select` puts the cursor on a row, `keys` are pressed one by one.
    `then` is what happens while the reader looks on.
    """

    keys: str = ""
    shows: str = "fleet"
    select: str = ""
    world: Callable[[], Snapshot] | None = lively
    then: Callable[[Stage], object] | None = None
    later_s: float = 0.0
    before: Callable[[Stage], object] | None = None  # the first key
    context: Mapping[str, object] | Callable[[], Mapping[str, object]] = field(default_factory=dict)


PROTECTED = {"identity": FleetIdentity("production", "root", "10.91.0.1:2379", protected=True)}

SCENES: dict[str, Scene] = {
    "units": Scene("", "failed", "sync.service"),
    "machines": Scene("2", "core-3"),
    "machines-draining": Scene("2", "draining", world=drained),
    "machines-lost": Scene("2 j j", "lost", world=bereft),
    "at-risk": Scene("2", "core-2 lost: 3 wait", context={"losses": Known(DEFAULT_KEYS)}),
    "record": Scene("", "not now", "sync.service", world=None, context=remembered),
    "trends": Scene("2 down enter d", "by the record", world=None, context=busy),
    "pending": Scene("3", "region=mars"),
    "events": Scene("4", "fewest units"),
    "map": Scene("5 down", "core-2"),
    "rollouts": Scene("6", "shop-2", world=rolling),
    "rollouts-failed": Scene("6", "paused", world=stopped),
    "rollout": Scene("6 enter", "on its way", world=rolling),
    "rollout-failed": Scene("6 enter", "did you mean --port", world=stopped, before=told),
    "rollout-changes": Scene("6 f", "--prot", world=rolling),
    "configs": Scene("7", "pay-key", world=configured),
    "config": Scene("7 j j enter", "older version", world=configured, context=HOLDING),
    "config-content": Scene("7 j j f", "limit = 40", world=configured, context=HOLDING),
    "config-changes": Scene("7 j j f less_than_sign", "limit = 20", world=configured, context=HOLDING),
    "secret": Scene("7 j enter", "at most 252 bytes", world=configured, context=HOLDING),
    "config-rollout": Scene("7 j j O", "Roll out the newest configs", world=configured, context=HOLDING),
    "rollout-undo": Scene("6 B", "Undo rollout", world=stopped),
    "detail-status": Scene("d", "linked-runtime", "web@3.service"),
    "detail-journal": Scene("d l", "GET /healthz", "web@3.service"),
    "detail-file": Scene("f", "ExecStart", "web@3.service"),
    "detail-diff": Scene("f less_than_sign", "--quick", "db.service", storied),
    "detail-placement": Scene("w", "machine by machine", "web@3.service"),
    "why": Scene("w", "region=mars", "mars.service"),
    "detail-events": Scene("v", "fewest units", "web@3.service"),
    "detail-dependencies": Scene("r", "network.target", "web@3.service"),
    "machine": Scene("2 enter", "core-1"),
    "drain": Scene("2 D", "Drain"),
    "destroy": Scene("D", "Destroy", "web@1.service"),
    "destroy-protected": Scene("D", "Destroy", "web@1.service", context=PROTECTED),
    "stop-many": Scene("asterisk X", "Stop"),
    "stop-typed": Scene("asterisk X", "type", context={"confirm_from": 3}),
    "group": Scene("d", "instances", "shop@.service", world=rolling),
    "group-failed": Scene("d", "versions", "shop@.service", world=stopped),
    "group-global": Scene("d", "on machines", "exporter.service"),
    "scale-down": Scene("minus", "Scale", "shop@.service", world=rolling),
    "units-old": Scene("slash i s colon o l d enter", "is:old", world=rolling),
    "rebalance": Scene("colon r e b a l a n c e enter", "at a time", world=crowded),
    "restart-many": Scene("6 1 j space space R 2", "at a time", "shop@1.service", world=rolling),
    "marked": Scene("j space space space", "✓"),
    "filter": Scene("slash w e b", "filter"),
    "filter-nothing": Scene("slash z z z enter", "nothing matches zzz"),
    "trouble": Scene("exclamation_mark", "sync.service"),
    "command": Scene("colon d e s", "des"),
    "palette": Scene("ctrl+p d r a", "dra"),
    "columns": Scene("o", "RESTARTS"),
    "submit": Scene("n", "submit a unit file"),
    "edit": Scene("e", "Restart=no", "db.service"),
    "help": Scene("question_mark", "help"),
    "journal-search": Scene("tab slash s l o w enter", "slow query", "web@1.service"),
    "journal-only": Scene("tab i G E T enter", "GET /cart", "web@1.service"),
    "journal-fields": Scene("tab up enter", "", "web@1.service"),
    "journal-paused": Scene("tab g", "new", "web@1.service", then=many_lines),
    "journal-link-lost": Scene("", "trying again", "web@2.service", then=broken_link),
    "journal-of-nothing": Scene("", "is on no machine", "mars.service"),
    "journal-json": Scene("tab", "payment failed", "web@1.service", then=json_lines),
    "journal-found": Scene("tab slash d e c l i n e d enter", "4711", "web@1.service", before=long_ago),
    "journal-failure": Scene("K", "No space left", "db.service", bereft, before=crashed),
    "journal-kept": Scene("", "No space left", "db.service", bereft, then=crashed),
    "detail-journal-kept": Scene("d l", "No space left", "db.service", bereft, then=crashed),
    "act-pending": Scene("S", "pending", "backup.service"),
    "act-failed": Scene("S", "no endpoint answered", "backup.service", then=refused),
    "connecting": Scene("", "connecting", world=None),
    "unreachable": Scene("", "no answer", world=None, then=unreachable),
    "lost": Scene("", "connection lost", "sync.service", then=cut, later_s=12),
    "leaderless": Scene("", "no scheduler", world=leaderless, later_s=12),
    "empty": Scene("", "no units yet", world=empty),
    "deserted": Scene("2", "no machine has joined", world=deserted),
    "read-only": Scene("S", "read-only", "backup.service", context={"read_only": True}),
}


def screen_text(app: App[None]) -> str:
    """What is on the screen."""
    compositor = app.screen._compositor
    return "\n".join(strip.text for strip in compositor.render_strips())


async def settled(pilot: Pilot[None], shows: str) -> str:
    """The screen, once it holds the text and stands still."""
    deadline = time.monotonic() + PATIENCE_S
    last, alike = "", 0
    while alike < STILL or shows not in last:
        await pilot.pause(0.05)
        text = screen_text(pilot.app)
        alike = alike + 1 if text == last else 0
        last = text
        if time.monotonic() > deadline:
            raise AssertionError(f"{shows!r} does not come, or the screen does not come to rest:\n{text}")
    return last


async def drawn(shown: Scene, size: tuple[int, int], theme: str = "dark") -> str:
    """The scene as SVG."""
    with _surroundings():
        more = shown.context() if callable(shown.context) else shown.context
        stage = Stage(shown.world() if shown.world else None, theme=theme, **more)
        async with stage.app.run_test(size=size) as pilot:
            await _play(shown, stage, pilot)
            for widget in (*stage.app.screen.query(Input), *stage.app.screen.query(TextArea)):
                widget.cursor_blink = False
            await settled(pilot, shown.shows)
            return readable(stage.app.export_screenshot(title="fleettui"))


async def _play(shown: Scene, stage: Stage, pilot: Pilot[None]) -> None:
    await settled(pilot, "fleet")
    if shown.before is not None:
        shown.before(stage)
    if shown.then is refused:
        shown.then(stage)
    if shown.select:
        assert stage.main.views.open.table.select(shown.select)
        await settled(pilot, "")
    for key in shown.keys.split():
        await pilot.press(key)
        await settled(pilot, "") if key in SLOW_KEYS else await pilot.pause()
    if shown.then is not None and shown.then is not refused:
        shown.then(stage)
        await settled(pilot, "")
    if shown.later_s:
        stage.now += shown.later_s
        stage.main._tick()  # what the next second does: ages, and all bands
        stage.main.refresh_all()


SLOW_KEYS = frozenset({"tab", "slash", "colon", "ctrl+p", "d", "2", "i", "enter"})  # they open something


@contextmanager
def _surroundings() -> Iterator[None]:
    """UTC, no animation, and an editor that adds a line."""
    changes = {"TEXTUAL_ANIMATIONS": "none", "TZ": "UTC", "EDITOR": "sed -i '$aRestart=no'", "VISUAL": "",
               "NO_COLOR": ""}  # fmt: skip
    before = {name: os.environ.get(name) for name in changes}
    _put({name: value or None for name, value in changes.items()})
    try:
        yield
    finally:
        _put(before)


def _put(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    time.tzset()


def names(chosen: Sequence[str]) -> Sequence[str]:
    """The scenes of these names; all, when none is named."""
    return chosen or tuple(SCENES)

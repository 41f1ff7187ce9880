"""What the agent relies on of systemd, said once: each check holds for the real one and for the simulated one.

A check is given a `Bench`: the agent's own door to a systemd, and a place for unit files. The files say in a
comment how the simulated systemd is to behave (`tests.simulation.systemd`), and in their sections how the real one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from agentd.dependencies import AT_REST, SERVICE, ListedUnit
from agentd.inquiry import named_as_absent
from agentd.pure.unit_status import DETAILS, SERVICE_FIELDS, UNKNOWN, UnitStatus
from agentd.quadlets import link_place
from agentd.systemd import Systemd
from fleettui.demo.images import IMAGE
from registry.errors import SystemdError

T = TypeVar("T")
WITHIN_S = 20.0
STANDS_STILL_S = 0.3  # longer than what was begun by then needs to show
SIGTERM, SIGKILL = 15, 9
EXITED, KILLED = 1, 2


def unit_file(simulate: str, service: str) -> str:
    return f"# simulate: {simulate}\n[Unit]\nDescription=a contract\n[Service]\n{service}\n"


SLEEPER = unit_file("kind=sleeper stop=0", "ExecStart=/bin/sleep infinity")
SLOW_STOP = unit_file("kind=sleeper stop=1", "ExecStart=/bin/sleep infinity\nExecStop=/bin/sleep 1")
SLOW_START = unit_file(
    "kind=sleeper start=1 stop=0",
    "Type=notify\nNotifyAccess=all\nExecStart=/bin/sh -c 'sleep 1; systemd-notify --ready; sleep infinity'",
)
BRIEF = unit_file("kind=sleeper life=0.2", "ExecStart=/bin/sleep 0.2")
FAILS = unit_file("kind=fails life=0.2", "ExecStart=/bin/sh -c 'sleep 0.2; exit 1'")
MISSING = unit_file("kind=missing", "ExecStart=/bin/there-is-none")
ONESHOT = unit_file("kind=oneshot life=0.4", "Type=oneshot\nExecStart=/bin/sleep 0.4")
HANGS = unit_file("kind=hangs start=0.5", "Type=notify\nTimeoutStartSec=500ms\nExecStart=/bin/sleep infinity")
AGAIN = unit_file(
    "kind=fails life=0.2 restart=yes",
    "Restart=on-failure\nRestartSec=1\nExecStart=/bin/sh -c 'sleep 0.2; exit 1'",
)

KEPT_UP = unit_file("kind=sleeper restart=yes", "Restart=on-failure\nRestartSec=1\nExecStart=/bin/sleep infinity")

VOLUME = "# simulate: kind=kept\n[Volume]\n"
CONTAINER = (
    "# simulate: kind=sleeper stop=0\n[Container]\n"
    f"Image={IMAGE}\nPull=never\nVolume=contract.volume:/data\nStopTimeout=1\nExec=sleep infinity\n"
)


@dataclass
class Heard:
    """What the agent is told."""

    changes: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    resyncs: int = 0

    def unit_changed(self, unit: str, properties: Mapping[str, Any]) -> None:
        self.changes.append((unit, dict(properties)))

    def resync(self) -> None:
        self.resyncs += 1

    def told(self, unit: str) -> UnitStatus:
        """The unit as its signals left it."""
        status = UNKNOWN
        for name, properties in self.changes:
            status = status.merged(properties) if name == unit else status
        return status

    def history(self, unit: str, name: str) -> list[Any]:
        """The values that a property was said to have, one after the other, without repeats."""
        values = [each[name] for what, each in self.changes if what == unit and name in each]
        return [value for at, value in enumerate(values) if at == 0 or value != values[at - 1]]


@dataclass
class Bench:
    """A systemd to be looked at. `root` is where its machine's files lie; `links`: where it finds units there."""

    systemd: Systemd
    heard: Heard
    root: Path
    links: Path
    execute_again: Callable[[], object]
    written: list[str] = field(default_factory=list)

    def write(self, name: str, text: str) -> str:
        """Put a unit file down elsewhere, and link it; returns the name."""
        elsewhere = self.links.parent / "contract" / name
        for path in (self._here(elsewhere), self._here(self.link(name))):
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.new")
            partial.unlink(missing_ok=True)
            if path == self._here(elsewhere):
                partial.write_text(text)
            else:
                partial.symlink_to(elsewhere)
            partial.replace(path)
        self.written.append(name)
        self.systemd.watch(name)
        return name

    def remove(self, name: str) -> None:
        for path in (self.link(name), self.links.parent / "contract" / name):
            self._here(path).unlink(missing_ok=True)

    def link(self, name: str) -> Path:
        """Where the link lies by which the file is found, by systemd or by Podman's generator."""
        return link_place(self.links, name) / name

    def _here(self, path: Path) -> Path:
        return self.root / path.relative_to("/")

    async def run(self, name: str, text: str) -> str:
        """Start a unit of this text, and wait for the job; returns its result."""
        return await (await self.systemd.start(self.write(name, text)))

    async def status(self, name: str) -> UnitStatus:
        found = await self.systemd.properties(name, DETAILS)
        return UNKNOWN.merged(found | await self.systemd.properties(name, SERVICE_FIELDS, SERVICE))

    async def tidy(self) -> None:
        """Leave nothing behind."""
        for name in dict.fromkeys(self.written):
            if (job := await self.systemd.stop(name)) is not None:
                await job
            await self.systemd.reset_failed(name)
            self.remove(name)
        await self.systemd.reload()


async def until(what: str, fact: Callable[[], Awaitable[T]]) -> T:
    """The first truthy value of `fact`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + WITHIN_S
    while not (value := await fact()):
        assert loop.time() < deadline, f"{what}: not within {WITHIN_S:g} s; the last answer was {value!r}"
        await asyncio.sleep(0.02)
    return value


async def comes_to(on: Bench, name: str, *, active: str = "", sub: str = "") -> ListedUnit:
    """The unit once it is so."""

    async def looked() -> ListedUnit | None:
        seen = await on.systemd.look(name)
        return seen if active in ("", seen.active) and sub in ("", seen.sub) else None

    return await until(f"{name} {active} {sub}", looked)  # type: ignore[arg-type]


async def is_forgotten(on: Bench, name: str) -> bool:
    """Whether systemd has unloaded a unit."""
    return not await on.systemd.in_memory(name)


# ---- starting


async def a_start_that_is_done_runs_and_says_so(on: Bench) -> None:
    assert await on.run("contract.service", SLEEPER) == "done"
    status = await on.status("contract.service")
    assert (status.load, status.active, status.sub) == ("loaded", "active", "running")
    assert (status.result, status.exec_code, status.restarts) == ("success", 0, 0)
    assert status.main_pid in await on.systemd.processes("contract.service")
    assert status.left_inactive_us > 0
    assert status.changed_us > 0

    async def told() -> bool:
        seen = on.heard.told("contract.service")
        return (seen.active, seen.main_pid, seen.job) == ("active", status.main_pid, 0)

    await until("its signals", told)
    assert on.heard.told("contract.service").left_inactive_us == status.left_inactive_us
    assert not on.heard.history("contract.service", "FragmentPath")  # of its file no signal tells


async def an_unknown_unit_is_refused_by_name(on: Bench) -> None:
    with pytest.raises(SystemdError) as refused:
        await on.systemd.start("contract-nobody.service")
    assert named_as_absent(refused.value.reason) == ("contract-nobody.service",)
    assert await on.systemd.stop("contract-nobody.service") is None
    assert await on.systemd.processes("contract-nobody.service") == ()
    for ask in (on.systemd.kill, on.systemd.reset_failed):
        await ask("contract-nobody.service")


async def a_start_of_what_runs_is_done_and_starts_nothing(on: Bench) -> None:
    await on.run("contract.service", SLEEPER)
    before = await on.status("contract.service")
    assert await (await on.systemd.start("contract.service")) == "done"
    assert (await on.status("contract.service")).main_pid == before.main_pid


async def each_run_has_an_id_of_its_own(on: Bench) -> None:
    await on.run("contract.service", KEPT_UP)
    first = (await on.status("contract.service")).invocation
    assert len(first) == 16
    await on.systemd.kill("contract.service")
    await comes_to(on, "contract.service", sub="auto-restart")
    await comes_to(on, "contract.service", sub="running")
    assert (await on.status("contract.service")).invocation not in (b"", first)


async def equal_starts_are_one_job(on: Bench) -> None:
    name = on.write("contract.service", SLOW_START)
    first, second = await on.systemd.start(name), await on.systemd.start(name)
    seen = await on.systemd.look(name)
    assert (seen.active, bool(seen.job)) == ("activating", True)
    assert (await first, await second) == ("done", "done")
    assert await on.systemd.look(name) == ListedUnit("loaded", "active", "running", 0)


async def a_stop_cancels_a_start_under_way(on: Bench) -> None:
    name = on.write("contract.service", SLOW_START)
    start = await on.systemd.start(name)
    await comes_to(on, name, active="activating")
    stop = await on.systemd.stop(name)
    assert stop is not None
    assert (await start, await stop) == ("canceled", "done")
    await until("it is unloaded", lambda: is_forgotten(on, name))


async def a_start_waits_for_the_stop_under_way_and_cancels_it(on: Bench) -> None:
    await on.run("contract.service", SLOW_STOP)
    before = (await on.status("contract.service")).main_pid
    stop = await on.systemd.stop("contract.service")
    await comes_to(on, "contract.service", active="deactivating")
    start = await on.systemd.start("contract.service")
    assert stop is not None
    assert await stop == "canceled"
    assert (await on.systemd.look("contract.service")).active == "deactivating"
    assert await start == "done"
    assert (await on.status("contract.service")).main_pid not in (0, before)
    assert on.heard.history("contract.service", "ActiveState")[-3:] != ["active", "active", "active"]


async def a_oneshot_is_done_when_it_has_ended(on: Bench) -> None:
    start = await on.systemd.start(on.write("contract.service", ONESHOT))
    await on.systemd.hold("contract.service")
    assert (await on.systemd.look("contract.service")).active == "activating"
    assert await start == "done"
    status = await on.status("contract.service")
    assert (status.active, status.sub, status.result) == ("inactive", "dead", "success")
    assert (status.exec_code, status.exec_status, status.main_pid) == (EXITED, 0, 0)
    await on.systemd.release("contract.service")


async def a_start_that_hangs_fails_by_its_timeout(on: Bench) -> None:
    assert await on.run("contract.service", HANGS) == "failed"
    status = await on.status("contract.service")
    assert (status.active, status.sub, status.result) == ("failed", "failed", "timeout")
    assert status.main_pid == 0


# ---- ending


async def a_stop_ends_it_by_a_signal_and_it_is_forgotten(on: Bench) -> None:
    await on.run("contract.service", SLEEPER)
    stop = await on.systemd.stop("contract.service")
    assert stop is not None
    assert await stop == "done"
    await until("it is unloaded", lambda: is_forgotten(on, "contract.service"))
    assert await on.systemd.processes("contract.service") == ()
    assert await on.systemd.recall("contract.service") is AT_REST
    told = on.heard.told("contract.service")
    assert (told.active, told.sub, told.result, told.main_pid) == ("inactive", "dead", "success", 0)
    assert (told.exec_code, told.exec_status) == (KILLED, SIGTERM)


async def a_stop_of_what_rests_is_done(on: Bench) -> None:
    stop = await on.systemd.stop(on.write("contract.service", SLEEPER))
    assert stop is not None
    assert await stop == "done"
    await until("it is unloaded", lambda: is_forgotten(on, "contract.service"))


async def a_stop_takes_its_time_and_equal_ones_are_one_job(on: Bench) -> None:
    await on.run("contract.service", SLOW_STOP)
    first, second = await on.systemd.stop("contract.service"), await on.systemd.stop("contract.service")
    seen = await on.systemd.look("contract.service")
    assert (seen.active, bool(seen.job)) == ("deactivating", True)
    assert first is not None
    assert second is not None
    assert (await first, await second) == ("done", "done")


async def what_is_killed_while_it_stops_has_failed_and_the_stop_is_done(on: Bench) -> None:
    await on.run("contract.service", SLOW_STOP)
    stop = await on.systemd.stop("contract.service")
    await comes_to(on, "contract.service", active="deactivating")
    await on.systemd.kill("contract.service")
    assert stop is not None
    assert await stop == "done"
    assert (await on.systemd.look("contract.service"))[1:] == ("failed", "failed", 0)
    assert (await on.status("contract.service")).result == "signal"


async def what_is_killed_restarts_where_its_file_says_so(on: Bench) -> None:
    await on.run("contract.service", KEPT_UP)
    before = await on.status("contract.service")
    await on.systemd.kill("contract.service")
    await comes_to(on, "contract.service", sub="auto-restart")
    await comes_to(on, "contract.service", sub="running")
    status = await on.status("contract.service")
    assert (status.restarts, status.result) == (1, "success")
    assert status.main_pid not in (0, before.main_pid)


async def what_is_killed_has_failed_by_that_signal(on: Bench) -> None:
    await on.run("contract.service", SLEEPER)
    await on.systemd.kill("contract.service")
    await comes_to(on, "contract.service", active="failed")
    status = await on.status("contract.service")
    assert (status.result, status.exec_code, status.exec_status) == ("signal", KILLED, SIGKILL)
    assert status.main_pid == 0
    await on.systemd.reset_failed("contract.service")
    await until("it is unloaded", lambda: is_forgotten(on, "contract.service"))


async def what_ends_by_itself_is_forgotten(on: Bench) -> None:
    assert await on.run("contract.service", BRIEF) == "done"
    await until("it is unloaded", lambda: is_forgotten(on, "contract.service"))
    told = on.heard.told("contract.service")
    assert (told.active, told.sub, told.result) == ("inactive", "dead", "success")
    assert (told.exec_code, told.exec_status) == (EXITED, 0)
    assert (await on.status("contract.service")).left_inactive_us == 0  # loaded anew, it knows nothing of its run


async def what_fails_is_kept_until_it_is_reset(on: Bench) -> None:
    assert await on.run("contract.service", FAILS) == "done"  # which is no success
    await comes_to(on, "contract.service", active="failed")
    status = await on.status("contract.service")
    assert (status.sub, status.result, status.exec_code, status.exec_status) == ("failed", "exit-code", EXITED, 1)
    await asyncio.sleep(STANDS_STILL_S)
    assert await on.systemd.in_memory("contract.service")
    await on.systemd.reset_failed("contract.service")
    await until("it is unloaded", lambda: is_forgotten(on, "contract.service"))


async def what_has_failed_can_be_started_again(on: Bench) -> None:
    await on.run("contract.service", FAILS)
    await comes_to(on, "contract.service", active="failed")
    first = await on.status("contract.service")
    assert await (await on.systemd.start("contract.service")) == "done"
    await comes_to(on, "contract.service", active="failed")
    assert (await on.status("contract.service")).left_inactive_us > first.left_inactive_us


async def the_start_of_a_missing_program_is_done_and_fails(on: Bench) -> None:
    assert await on.run("contract.service", MISSING) == "done"
    await comes_to(on, "contract.service", active="failed")
    status = await on.status("contract.service")
    assert (status.result, status.exec_code, status.exec_status) == ("exit-code", EXITED, 203)


async def a_service_restarts_by_itself(on: Bench) -> None:
    assert await on.run("contract.service", AGAIN) == "done"
    first = await on.status("contract.service")
    await comes_to(on, "contract.service", sub="auto-restart")
    waiting = await on.status("contract.service")
    assert (waiting.active, waiting.main_pid, waiting.result) == ("activating", 0, "exit-code")
    await comes_to(on, "contract.service", sub="running")
    second = await on.status("contract.service")
    assert (second.restarts, second.result) == (1, "success")
    assert second.main_pid not in (0, first.main_pid)
    assert second.left_inactive_us > first.left_inactive_us


async def a_service_that_waits_for_its_restart_is_stopped_at_once(on: Bench) -> None:
    await on.run("contract.service", AGAIN)
    await comes_to(on, "contract.service", sub="auto-restart")
    stop = await on.systemd.stop("contract.service")
    assert stop is not None
    assert await stop == "done"
    seen = await on.systemd.look("contract.service")
    assert (seen.active, seen.job) in (("inactive", 0), ("failed", 0))


async def a_start_of_what_waits_for_its_restart_is_that_restart(on: Bench) -> None:
    await on.run("contract.service", AGAIN)
    await comes_to(on, "contract.service", sub="auto-restart")
    start = await on.systemd.start("contract.service")
    seen = await on.systemd.look("contract.service")
    assert seen.job or seen.sub != "auto-restart"  # it waits, too, or (systemd 257) begins at once
    assert await start == "done"
    assert (await on.status("contract.service")).restarts == 1


# ---- memory and files


async def a_list_answers_for_every_name(on: Bench) -> None:
    await on.run("contract.service", SLEEPER)
    on.write("contract-idle.service", SLEEPER)
    names = ("contract-nobody.service", "contract.service", "contract-idle.service")
    assert await on.systemd.list_units(names) == {
        "contract-nobody.service": ("not-found", "inactive", "dead"),
        "contract.service": ("loaded", "active", "running"),
        "contract-idle.service": ("loaded", "inactive", "dead"),
    }
    assert not await on.systemd.in_memory("contract-nobody.service")
    assert await on.systemd.in_memory("contract.service")


async def a_held_unit_is_kept_with_all_it_knows(on: Bench) -> None:
    name = on.write("contract.service", BRIEF)
    await on.systemd.hold(name)
    await (await on.systemd.start(name))
    await comes_to(on, name, active="inactive")
    await asyncio.sleep(STANDS_STILL_S)
    status = await on.status(name)
    assert (status.active, status.result, status.exec_code) == ("inactive", "success", EXITED)
    assert status.left_inactive_us > 0
    await on.systemd.release(name)
    await until("it is unloaded", lambda: is_forgotten(on, name))


async def a_file_that_has_changed_needs_a_reload(on: Bench) -> None:
    await on.run("contract.service", SLEEPER)
    needs = ("NeedDaemonReload", "FragmentPath")
    found = await on.systemd.properties("contract.service", needs)
    assert found == {"NeedDaemonReload": False, "FragmentPath": str(on.links / "contract.service")}
    before, resyncs = (await on.status("contract.service")).main_pid, on.heard.resyncs
    on.write("contract.service", SLOW_STOP)
    assert (await on.systemd.properties("contract.service", needs))["NeedDaemonReload"]
    await on.systemd.reload()
    assert not (await on.systemd.properties("contract.service", needs))["NeedDaemonReload"]
    assert (await on.status("contract.service")).main_pid == before

    async def told() -> bool:
        return on.heard.resyncs > resyncs

    await until("the news that a reload is over", told)
    assert await on.systemd.stop("contract.service") is not None
    await comes_to(on, "contract.service", active="deactivating")  # for a second, as the new file says


async def a_unit_whose_file_is_gone_runs_on(on: Bench) -> None:
    await on.run("contract.service", SLEEPER)
    before = (await on.status("contract.service")).main_pid
    on.remove("contract.service")
    assert (await on.systemd.properties("contract.service", ("NeedDaemonReload",)))["NeedDaemonReload"]
    await on.systemd.reload()
    status = await on.status("contract.service")
    assert (status.load, status.active, status.main_pid) == ("not-found", "active", before)
    stop = await on.systemd.stop("contract.service")
    assert stop is not None
    assert await stop == "done"
    await until("it is unloaded", lambda: is_forgotten(on, "contract.service"))


async def a_new_file_is_found_without_a_reload(on: Bench) -> None:
    assert (await on.systemd.look("contract.service")).load == "not-found"
    assert await on.run("contract.service", SLEEPER) == "done"


async def it_says_where_it_looks_for_units(on: Bench) -> None:
    places = await on.systemd.unit_path()
    assert str(on.links) in places
    assert on.systemd.places_before(on.links) == places[: places.index(str(on.links))]
    assert await on.systemd.version()


async def it_is_followed_when_it_executes_itself_again(on: Bench) -> None:
    await on.run("contract.service", SLEEPER)
    before, resyncs = await on.status("contract.service"), on.heard.resyncs
    on.execute_again()

    async def followed() -> bool:
        return on.heard.resyncs > resyncs and on.systemd.ready.is_set()

    await until("the agent's resubscription", followed)
    status = await on.status("contract.service")
    assert (status.active, status.main_pid) == ("active", before.main_pid)
    on.heard.changes.clear()
    stop = await on.systemd.stop("contract.service")
    assert stop is not None
    assert await stop == "done"
    assert "deactivating" in on.heard.history("contract.service", "ActiveState")


# ---- Quadlets, where there is Podman


async def a_quadlet_is_a_service_from_the_next_reload_on(on: Bench) -> None:
    name = on.write("contract.volume", VOLUME)
    assert (await on.systemd.look(name)).load == "not-found"
    await on.systemd.reload()
    found = await on.systemd.properties(name, ("NeedDaemonReload", "FragmentPath"))
    assert found == {"NeedDaemonReload": False, "FragmentPath": str(on.link(name))}
    assert await (await on.systemd.start(name)) == "done"
    assert (await on.systemd.look(name))[:3] == ("loaded", "active", "exited")
    on.write(name, f"{VOLUME}Label=version=2\n")
    assert (await on.systemd.properties(name, ("NeedDaemonReload",)))["NeedDaemonReload"]
    await on.systemd.reload()
    assert not (await on.systemd.properties(name, ("NeedDaemonReload",)))["NeedDaemonReload"]


async def a_service_whose_quadlet_is_gone_runs_on(on: Bench) -> None:
    name = on.write("contract.volume", VOLUME)
    await on.systemd.reload()
    await (await on.systemd.start(name))
    on.remove(name)
    assert (await on.systemd.properties(name, ("NeedDaemonReload",)))["NeedDaemonReload"]
    await on.systemd.reload()
    assert (await on.systemd.look(name))[:2] == ("not-found", "active")
    stop = await on.systemd.stop(name)
    assert stop is not None
    assert await stop == "done"
    await until("it is unloaded", lambda: is_forgotten(on, name))


async def a_quadlet_is_no_service_before_what_it_names_is_there_and_is_started_and_stopped_with_that(
    on: Bench,
) -> None:
    name = on.write("contract.container", CONTAINER)
    await on.systemd.reload()
    assert (await on.systemd.look(name)).load == "not-found"
    volume = on.write("contract.volume", VOLUME)
    await on.systemd.reload()
    assert (await on.systemd.look(name)).load == "loaded"
    assert await (await on.systemd.start(name)) == "done"
    assert (await on.systemd.look(volume))[:3] == ("loaded", "active", "exited")
    assert (await on.systemd.look(name))[:3] == ("loaded", "active", "running")
    stop = await on.systemd.stop(volume)
    assert stop is not None
    assert await stop == "done"

    async def down() -> bool:
        return (await on.systemd.recall(name)).active in ("inactive", "failed")

    await until("its end", down)


OF_QUADLETS = (
    a_quadlet_is_a_service_from_the_next_reload_on,
    a_service_whose_quadlet_is_gone_runs_on,
    a_quadlet_is_no_service_before_what_it_names_is_there_and_is_started_and_stopped_with_that,
)
CHECKS = (
    a_start_that_is_done_runs_and_says_so,
    an_unknown_unit_is_refused_by_name,
    a_start_of_what_runs_is_done_and_starts_nothing,
    each_run_has_an_id_of_its_own,
    equal_starts_are_one_job,
    a_stop_cancels_a_start_under_way,
    a_start_waits_for_the_stop_under_way_and_cancels_it,
    a_oneshot_is_done_when_it_has_ended,
    a_start_that_hangs_fails_by_its_timeout,
    a_stop_ends_it_by_a_signal_and_it_is_forgotten,
    a_stop_of_what_rests_is_done,
    a_stop_takes_its_time_and_equal_ones_are_one_job,
    what_is_killed_while_it_stops_has_failed_and_the_stop_is_done,
    what_is_killed_has_failed_by_that_signal,
    what_is_killed_restarts_where_its_file_says_so,
    what_ends_by_itself_is_forgotten,
    what_fails_is_kept_until_it_is_reset,
    what_has_failed_can_be_started_again,
    the_start_of_a_missing_program_is_done_and_fails,
    a_service_restarts_by_itself,
    a_service_that_waits_for_its_restart_is_stopped_at_once,
    a_start_of_what_waits_for_its_restart_is_that_restart,
    a_list_answers_for_every_name,
    a_held_unit_is_kept_with_all_it_knows,
    a_file_that_has_changed_needs_a_reload,
    a_unit_whose_file_is_gone_runs_on,
    a_new_file_is_found_without_a_reload,
    it_says_where_it_looks_for_units,
    it_is_followed_when_it_executes_itself_again,
)

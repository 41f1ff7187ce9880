"""The door to systemd on a real bus (dbus-daemon), with a systemd of the test's own and a stranger who forges."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from dbus_next import Message, MessageFlag, MessageType, Variant
from dbus_next.aio import MessageBus

from agentd.dependencies import SYSTEMD, UNIT, BusLost
from agentd.systemd import Systemd
from agentd.systemd_connection import (
    DBUS,
    DBUS_PATH,
    MANAGER,
    MANAGER_PATH,
    PROPERTIES,
    SystemdConnection,
    unit_path,
)
from registry.errors import SystemdError

JOB = f"{MANAGER_PATH}/job/7"
WITHIN_S = 10
# Lets everything through, replies that nobody asked for as well: what keeps them out here is the agent alone.
CONFIG = """<busconfig><type>session</type><listen>unix:path={socket}</listen>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
<allow send_type="method_return" send_requested_reply="false"/>
<allow send_type="error" send_requested_reply="false"/>
<allow receive_type="method_return" receive_requested_reply="false"/>
<allow receive_type="error" receive_requested_reply="false"/></policy></busconfig>"""


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A bus of the test's own."""
    daemon = shutil.which("dbus-daemon")
    if daemon is None:
        pytest.skip("dbus-daemon is not installed")
    socket, config = tmp_path / "bus", tmp_path / "bus.conf"
    config.write_text(CONFIG.format(socket=socket))
    process = subprocess.Popen(
        [daemon, f"--config-file={config}", "--nofork", "--print-address"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline()
        yield f"unix:path={socket}"
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


@dataclass
class Heard:
    """What the agent is told."""

    changes: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    resyncs: int = 0

    def unit_changed(self, unit: str, properties: Mapping[str, Any]) -> None:
        self.changes.append((unit, dict(properties)))

    def resync(self) -> None:
        self.resyncs += 1


class Peer:
    """A connection that answers as it is told, and sends what it likes."""

    def __init__(self, bus: MessageBus) -> None:
        self.bus = bus
        self.asked: list[Message] = []
        self.answers: dict[str, tuple[str, list[Any]] | None] = {
            "Subscribe": ("", []),
            "StopUnit": ("o", [JOB]),
            "Get": ("v", [Variant("s", "252")]),
        }
        bus.add_message_handler(self._handle)

    def _handle(self, message: Message) -> Message | bool:
        if message.message_type is not MessageType.METHOD_CALL:
            return False
        self.asked.append(message)
        if answer := self.answers.get(message.member):
            return Message.new_method_return(message, *answer)
        return True  # later, or never

    def leave(self) -> None:
        if self.bus.connected:
            self.bus.disconnect()
            self.bus._finalize()
            self.bus._stream.close()
            self.bus._sock.close()

    async def take_name(self) -> None:
        await self.bus.request_name(SYSTEMD)

    async def tell(self, to: Systemd, member: str, signature: str, body: list[Any], **where: str) -> None:
        """A signal to the agent alone, whatever it has asked for."""
        assert to._connection._bus
        message = Message(
            message_type=MessageType.SIGNAL,
            destination=to._connection._bus.unique_name,
            path=where.get("path", MANAGER_PATH),
            interface=where.get("interface", MANAGER),
            member=member,
            signature=signature,
            body=body,
        )
        await self.bus.send(message)

    async def changed(self, to: Systemd, properties: dict[str, Variant], **where: str) -> None:
        body = [where.pop("of", UNIT), properties, []]
        where = {"path": unit_path("a.service"), "interface": PROPERTIES} | where
        await self.tell(to, "PropertiesChanged", "sa{sv}as", body, **where)

    async def finish(self, to: Systemd, result: str = "done", **where: str) -> None:
        await self.tell(to, "JobRemoved", "uoss", [7, JOB, "a.service", result], **where)

    async def round_trip(self, to: Systemd) -> None:
        """Wait until the agent has read all that was sent so far: the bus keeps the order."""
        seen = len(_heard(to).changes)
        await self.changed(to, {"ActiveState": Variant("s", f"mark {seen}")})
        await _until(lambda: ("a.service", {"ActiveState": f"mark {seen}"}) in _heard(to).changes)
        _heard(to).changes.remove(("a.service", {"ActiveState": f"mark {seen}"}))


def _heard(systemd: Systemd) -> Heard:
    heard = systemd._connection._listener
    assert isinstance(heard, Heard)
    return heard


async def _until(fact: Any) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not fact():  # noqa: ASYNC110 - what is waited for is another program's
            await asyncio.sleep(0.005)


@dataclass
class Stage:
    """The agent's door, systemd, and somebody else."""

    systemd: Systemd
    heard: Heard
    real: Peer
    stranger: Peer
    address: str

    async def read_all(self) -> None:
        """Wait until the agent has read what the stranger has sent, too."""
        reply = await self.stranger.bus.call(
            Message(destination=DBUS, path=DBUS_PATH, interface=DBUS, member="GetId")
        )
        assert reply
        await self.real.round_trip(self.systemd)


@asynccontextmanager
async def stage(address: str) -> AsyncIterator[Stage]:
    heard = Heard()
    systemd = Systemd(SystemdConnection(address))
    real, stranger = Peer(await MessageBus(address).connect()), Peer(await MessageBus(address).connect())
    await real.take_name()
    running = asyncio.create_task(systemd.run(heard))
    try:
        await asyncio.wait_for(systemd.ready.wait(), WITHIN_S)
        systemd.watch("a.service")
        yield Stage(systemd, heard, real, stranger, address)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        for peer in (real, stranger):
            peer.leave()


async def test_a_forged_signal_ends_no_job(address: str) -> None:
    async with stage(address) as on:
        job = await on.systemd.stop("a.service")
        assert job
        await on.stranger.finish(on.systemd)
        await on.read_all()
        assert not job.done()
        await on.real.finish(on.systemd)
        assert await asyncio.wait_for(job, WITHIN_S) == "done"


async def test_a_forged_signal_that_comes_before_the_reply_is_not_remembered(address: str) -> None:
    async with stage(address) as on:
        on.real.answers["StopUnit"] = None
        asking = asyncio.create_task(on.systemd.stop("a.service"))
        await _until(lambda: any(each.member == "StopUnit" for each in on.real.asked))
        await on.stranger.finish(on.systemd)
        await on.read_all()
        await on.real.bus.send(Message.new_method_return(on.real.asked[-1], "o", [JOB]))
        job = await asking
        assert job
        assert not job.done()


async def test_what_a_stranger_says_of_a_unit_is_not_heard(address: str) -> None:
    async with stage(address) as on:
        before = on.heard.resyncs
        await on.stranger.changed(on.systemd, {"ActiveState": Variant("s", "failed")})
        await on.stranger.tell(on.systemd, "Reloading", "b", [False])
        await on.read_all()
        assert (on.heard.changes, on.heard.resyncs) == ([], before)


async def test_a_stranger_does_not_say_who_systemd_is(address: str) -> None:
    async with stage(address) as on:
        stranger = on.stranger.bus.unique_name
        body = [SYSTEMD, on.real.bus.unique_name, stranger]
        await on.stranger.tell(on.systemd, "NameOwnerChanged", "sss", body, path=DBUS_PATH, interface=DBUS)
        await on.stranger.changed(on.systemd, {"ActiveState": Variant("s", "failed")})
        await on.read_all()
        assert on.heard.changes == []
        assert await on.systemd.version() == "252"
        assert on.stranger.asked == []


@pytest.mark.parametrize(
    ("signature", "body", "where"),
    [
        ("uoss", [7, JOB, "a.service", "done"], {"path": "/elsewhere"}),
        ("uoss", [7, JOB, "a.service", "done"], {"interface": "an.Other"}),
        ("uosu", [7, JOB, "a.service", 1], {}),
        ("o", [JOB], {}),
        ("", [], {}),
    ],
)
async def test_a_signal_of_another_shape_is_passed_over(
    address: str, signature: str, body: list[Any], where: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    async with stage(address) as on:
        job = await on.systemd.stop("a.service")
        assert job
        await on.real.tell(on.systemd, "JobRemoved", signature, body, **where)
        await on.real.round_trip(on.systemd)
        assert not job.done()
        assert "cannot make anything" not in caplog.text


async def test_a_property_of_the_wrong_type_or_interface_is_passed_over(address: str) -> None:
    async with stage(address) as on:
        wrong = {"SubState": Variant("ay", b"running"), "StateChangeTimestamp": Variant("s", "now")}
        await on.real.changed(on.systemd, wrong | {"MainPID": Variant("u", 7)})
        await on.real.changed(on.systemd, {"Result": Variant("s", "resources")}, of=f"{SYSTEMD}.Timer")
        await on.real.changed(on.systemd, {"Result": Variant("s", "signal")}, interface="an.Other")
        await on.real.round_trip(on.systemd)
        assert [found for _, found in on.heard.changes if found] == [{"MainPID": 7}]


async def test_systemd_is_followed_to_its_next_connection(address: str) -> None:
    async with stage(address) as on:
        job = await on.systemd.stop("a.service")
        assert job
        old, new = on.real, Peer(await MessageBus(address).connect())
        resyncs = on.heard.resyncs
        await old.bus.release_name(SYSTEMD)
        with pytest.raises(BusLost):
            await _outlived(on.systemd)
        await new.take_name()
        await asyncio.wait_for(on.systemd.ready.wait(), WITHIN_S)
        await _until(lambda: on.heard.resyncs > resyncs)
        await old.finish(on.systemd)
        await new.round_trip(on.systemd)
        assert not job.done() or job.result() == "unknown"
        again = await on.systemd.stop("a.service")
        assert again
        await new.finish(on.systemd)
        assert await asyncio.wait_for(again, WITHIN_S) == "done"
        assert any(each.member == "Subscribe" for each in new.asked)
        new.leave()


async def _outlived(systemd: Systemd) -> None:
    """Ask until there is nobody to ask."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            await systemd.version()
            await asyncio.sleep(0.005)


async def test_a_systemd_that_comes_late_is_waited_for(address: str) -> None:
    systemd, peer = Systemd(SystemdConnection(address)), Peer(await MessageBus(address).connect())
    running = asyncio.create_task(systemd.run(Heard()))
    await _until(lambda: systemd._connection._owner == "")
    assert not systemd.ready.is_set()
    await peer.take_name()
    await asyncio.wait_for(systemd.ready.wait(), WITHIN_S)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    peer.leave()


async def test_a_strangers_reply_is_no_answer(address: str) -> None:
    async with stage(address) as on:
        on.real.answers["Get"] = None
        asking = asyncio.create_task(on.systemd.version())
        await _until(lambda: any(each.member == "Get" for each in on.real.asked))
        call = on.real.asked[-1]
        for kind, error in ((MessageType.METHOD_RETURN, None), (MessageType.ERROR, "a.b.No")):
            forged = Message(
                destination=call.sender, message_type=kind, reply_serial=call.serial, error_name=error,
                flags=MessageFlag.NO_REPLY_EXPECTED, signature="v", body=[Variant("s", "forged")],
            )  # fmt: skip
            await on.stranger.bus.send(forged)
        await on.read_all()
        assert not asking.done()
        await on.real.bus.send(Message.new_method_return(call, "v", [Variant("s", "252")]))
        assert await asking == "252"


async def test_an_answer_of_another_type_is_an_error_of_that_call(address: str) -> None:
    async with stage(address) as on:
        on.real.answers["StopUnit"] = ("s", ["no path"])
        with pytest.raises(SystemdError, match="of type 's'"):
            await on.systemd.stop("a.service")


async def test_a_systemd_that_leaves_in_the_middle_of_a_call_is_lost_and_not_wrong(address: str) -> None:
    async with stage(address) as on:
        on.real.answers["Get"] = None
        asking = asyncio.create_task(on.systemd.version())
        await _until(lambda: any(each.member == "Get" for each in on.real.asked))
        on.real.leave()
        with pytest.raises(BusLost):
            await asking


async def test_a_unit_that_is_listed_under_its_own_name_is_found_by_its_alias(address: str) -> None:
    async with stage(address) as on:
        row = ["ssh.service", "", "loaded", "active", "running", "", "/a", 3, "stop", "/b"]
        on.real.answers["ListUnitsByNames"] = ("a(ssssssouso)", [[row]])
        assert await on.systemd.look("sshd.service") == ("loaded", "active", "running", 3)

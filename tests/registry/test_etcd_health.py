"""What the client knows of its endpoints, against three real members of etcd, and what daemons log of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from registry.errors import RegistryDenied, RegistryUnavailable
from registry.etcd import Etcd, EtcdSettings
from registry.etcd.health import EtcdHealth, EtcdTrouble, endpoints_told, keep_watch
from registry.etcd.wire import EtcdError, EtcdUnreachable
from tests.etcd_server import SIMULATED, EtcdServer, available_versions, etcd_server, free_ports

pytestmark = pytest.mark.etcd

WITHIN_S = 60.0


@pytest.fixture(params=[*available_versions()[:1], SIMULATED])
def three(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EtcdServer]:
    with etcd_server(tmp_path / "etcd", request.param, members=3) as server:
        yield server


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not holds():  # noqa: ASYNC110 - a member that dies tells nobody
            await asyncio.sleep(0.02)


def is_away(etcd: Etcd) -> bool:
    return etcd.health.away is not None


def is_denied(etcd: Etcd) -> bool:
    return etcd.health.denied is not None


@asynccontextmanager
async def watched(etcd: Etcd, every_s: float = 0.5) -> AsyncIterator[None]:
    task = asyncio.create_task(keep_watch(etcd.health, etcd.ask_quiet, lambda: None, every_s))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_dead_member_of_three_is_told_once_and_so_is_its_return(
    three: EtcdServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fleet.etcd")
    async with Etcd(EtcdSettings(three.endpoints)) as etcd, watched(etcd):
        await etcd.put("a", b"")
        leader = three.leader()
        dead = next(each for each in three.members if each is not leader and each.url != etcd.endpoint)
        dead.kill()
        await until(lambda: dead.url in etcd.health.told)
        assert not is_away(etcd)
        assert etcd.health.endpoints == (f"2 of 3 etcd endpoints answer: {dead.url} does not")
        for number in range(20):
            await etcd.put("a", str(number).encode())
            await etcd.ask_quiet(0.0)
        await three.restart()
        await until(lambda: not etcd.health.told)
    lines = [record.getMessage() for record in caplog.records if dead.url in record.getMessage()]
    assert lines[0].startswith(f"etcd endpoint {dead.url} does not answer: ")
    assert lines[-1] == f"etcd endpoint {dead.url} answers again"
    assert len(lines) == 2, lines


async def test_a_frozen_member_is_told_too(three: EtcdServer) -> None:
    async with Etcd(EtcdSettings(three.endpoints, request_timeout_s=1.0)) as etcd, watched(etcd):
        frozen = three.members[1]
        frozen.freeze()
        await until(lambda: frozen.url in etcd.health.told)
        frozen.thaw()
        await until(lambda: not etcd.health.told)


async def test_a_member_without_a_quorum_does_not_count_as_answering(three: EtcdServer) -> None:
    async with Etcd(EtcdSettings(three.endpoints, request_timeout_s=1.0)) as etcd, watched(etcd):
        await etcd.put("a", b"")
        for member in three.members[1:]:
            member.kill()
        await until(lambda: is_away(etcd))
        await three.restart()
        await until(lambda: not is_away(etcd) and not etcd.health.told and not etcd.health.down)


@pytest.mark.parametrize("three", available_versions()[:1], indirect=True)
async def test_a_dead_member_is_not_asked_again_where_another_waits_for_a_leader(
    three: EtcdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent, left, dead = three.members
    async with Etcd(EtcdSettings((silent.url, left.url), request_timeout_s=1.0)) as etcd:
        silent.freeze()
        dead.kill()
        await until(lambda: not int(three.post("/maintenance/status", {}, left).get("leader", 0)))
        asked, call = [], etcd.link.call_at

        async def noted(base: str, *arguments: Any, **more: Any) -> Any:
            asked.append(base)
            return await call(base, *arguments, **more)

        monkeypatch.setattr(etcd.link, "call_at", noted)
        with pytest.raises(RegistryUnavailable, match="no leader") as caught:
            await etcd.get("a")
    assert silent.url in str(caught.value)
    assert asked.count(silent.url) == 1
    assert asked.count(left.url) > 1


async def test_a_registry_that_is_away_is_so_since_its_last_answer(three: EtcdServer) -> None:
    async with Etcd(EtcdSettings(three.endpoints, request_timeout_s=1.0)) as etcd:
        await etcd.put("a", b"")
        assert not is_away(etcd)
        three.kill()
        with suppress(RegistryUnavailable):
            await etcd.get("a")
        away = etcd.health.away
        assert away
        with suppress(RegistryUnavailable):
            await etcd.get("a")
        again = etcd.health.away
        assert again
        assert again.since == away.since
        assert all(url in away.reason for url in three.endpoints)


async def test_one_that_never_answered_is_away_since_it_was_tried() -> None:
    async with Etcd(EtcdSettings((f"http://127.0.0.1:{free_ports(1)[0]}",))) as etcd:
        with suppress(RegistryUnavailable):
            await etcd.get("a")
        away = etcd.health.away
        assert away
        assert away.since > 0


@pytest.mark.parametrize("kind", [*available_versions()[:1], SIMULATED])
async def test_a_wrong_password_is_a_denial_and_no_absence_and_lease_calls_do_not_hide_it(
    tmp_path: Path, kind: str
) -> None:
    (tmp_path / "password").write_text("right")
    (tmp_path / "password").chmod(0o600)
    with etcd_server(tmp_path / "etcd", kind) as server:
        server.enable_auth(password="secret", user="agent", user_password="right", prefix="/fleet/")
        settings = EtcdSettings(
            server.endpoints, username="agent", password_file=str(tmp_path / "password"), request_timeout_s=5.0
        )
        async with Etcd(settings) as etcd:
            await etcd.put("/fleet/a", b"")
            assert not is_denied(etcd)
            with pytest.raises(RegistryDenied):
                await etcd.put("/other", b"")
            assert is_denied(etcd)
            lease = await etcd.lease_grant(60)
            await etcd.lease_keepalive(lease)
            assert is_denied(etcd)
            await etcd.put("/fleet/a", b"")
            assert not is_denied(etcd)
        (tmp_path / "password").write_text("wrong")
        async with Etcd(settings) as etcd:
            with pytest.raises(RegistryDenied):
                await etcd.get("/fleet/a")
            assert is_denied(etcd)
            assert not is_away(etcd)


async def test_what_fails_at_an_endpoint_that_answers_others_meanwhile_says_nothing_of_it() -> None:
    health = EtcdHealth(("a",))
    with suppress(EtcdUnreachable), health.attempt("a", "/kv/range"):
        await asyncio.sleep(0.001)
        health.answered("a")
        raise EtcdUnreachable("timed out")
    assert not health.down
    with suppress(EtcdError), health.attempt("a", "/kv/put"):
        raise EtcdError(8, "etcdserver: mvcc: database space exceeded")
    assert not health.down


def test_how_many_answer_is_told_where_there_are_several() -> None:
    trouble = EtcdTrouble(0.0, "connection refused")
    assert endpoints_told(("a",), {"a": trouble}) == ""
    assert endpoints_told(("a", "b"), {}) == ""
    assert endpoints_told(("a", "b", "c"), {"a": trouble, "b": trouble}) == (
        "1 of 3 etcd endpoints answer: a, b do not"
    )

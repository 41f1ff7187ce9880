"""Pauses between attempts and what is told of them; and loops that a real etcd refuses."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import (
    CredentialsUnusable,
    ForeignRegistry,
    RegistryDenied,
    RegistryError,
    RegistryUnavailable,
    UserError,
)
from registry.etcd import Etcd
from registry.etcd.backoff import FORGET_S, JITTER, LONGEST_S, Backoff
from registry.keys import Keys
from registry.program.config import EtcdTable, Settings
from registry.sync.follow import ConnectionState, Follower
from registry.sync.sentinel import ensure_cluster
from scheduler.service import Scheduler
from tests.etcd_server import SIMULATED, EtcdServer, available_versions, etcd_server
from tests.registry.test_etcd_auth import PASSWORD, logins, secret

FAILURES = [RegistryUnavailable, RegistryDenied, ForeignRegistry, CredentialsUnusable, RegistryError]
failures = st.builds(lambda kind, text: kind(text), st.sampled_from(FAILURES), st.sampled_from("abc"))


@given(st.lists(failures, max_size=60))
def test_no_pause_is_longer_than_half_a_minute_or_shorter_than_the_first(errors: list[RegistryError]) -> None:
    backoff = Backoff(0.5)
    for error in errors:
        assert 0.5 * JITTER[0] <= backoff.pause(error) <= LONGEST_S * JITTER[1]


@given(st.sampled_from(FAILURES))
def test_a_failure_that_stays_is_tried_twice_a_minute_in_the_end(kind: type[RegistryError]) -> None:
    backoff = Backoff(0.5)
    pauses = [backoff.pause(kind("the same")) for _ in range(40)]
    assert all(each >= LONGEST_S * JITTER[0] for each in pauses[20:])
    assert pauses[0] <= 0.5


@given(st.lists(failures, max_size=60))
def test_a_reason_is_told_once_until_another_kind_of_failure_comes(errors: list[RegistryError]) -> None:
    backoff = Backoff(0.5)
    told: set[str] = set()
    before: type[RegistryError] | None = None
    for error in errors:
        if type(error) is not before:
            told, before = set(), type(error)
        assert backoff.is_news(error) is (str(error) not in told)
        told.add(str(error))
        backoff.pause(error)


def test_what_went_well_makes_the_next_failure_news_and_its_pause_short() -> None:
    backoff = Backoff(0.5)
    for _ in range(20):
        backoff.is_news(RegistryDenied("no"))
        backoff.pause(RegistryDenied("no"))
    assert not backoff.is_news(RegistryDenied("no"))
    backoff.reset()
    assert backoff.is_news(RegistryDenied("no"))
    assert backoff.pause(RegistryDenied("no")) <= 0.5
    backoff.until = time.monotonic() - FORGET_S - 1
    assert backoff.is_news(RegistryDenied("no"))


def test_pauses_that_must_stay_short_do() -> None:
    backoff = Backoff(0.5)
    assert all(backoff.pause(RegistryUnavailable("x"), at_most_s=0.5) <= 0.5 for _ in range(50))


async def test_a_wait_ends_when_a_file_changes_or_another_way_got_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.etcd.backoff.LOOK_S", 0.01)
    stamp = [1]
    backoff = Backoff(1000, files=lambda: tuple(stamp))
    waiting = asyncio.create_task(backoff.wait(RegistryDenied("no")))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    stamp[0] = 2
    await asyncio.wait_for(waiting, 10)
    waiting = asyncio.create_task(backoff.wait(RegistryDenied("no")))
    await asyncio.sleep(0)
    backoff.reset()
    await asyncio.wait_for(waiting, 10)


@pytest.fixture(scope="module", params=[*available_versions()[-1:], SIMULATED])
def guarded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    directory = tmp_path_factory.mktemp("guarded")
    with etcd_server(directory, request.param, flags=["--bcrypt-cost=4"]) as server:
        server.enable_auth(password="root", user="fleet", user_password=PASSWORD, prefix="/fleet/")
        yield server


@pytest.fixture
def wrong(tmp_path: Path) -> str:
    return secret(tmp_path / "password", "falsch-und-lang")


def table(server: EtcdServer, password_file: str) -> EtcdTable:
    return EtcdTable(server.endpoints, username="fleet", password_file=password_file)


@pytest.mark.etcd
async def test_a_wrong_password_costs_the_server_a_login_now_and_then_however_many_calls_are_made(
    guarded: EtcdServer, wrong: str
) -> None:
    before = await asyncio.to_thread(logins, guarded)
    async with Etcd(table(guarded, wrong).client_settings()) as client:
        began = time.monotonic()
        for _ in range(200):
            with pytest.raises(RegistryDenied, match="password_file"):
                await client.get("/fleet/k")
        assert client.health.denied
        heard = dict(client.health.answered_at)
        with pytest.raises(RegistryDenied):
            await client.get("/fleet/k")
        if await asyncio.to_thread(logins, guarded) == before + 1:  # nobody was asked, so nobody has answered
            assert client.health.answered_at == heard
        allowed = 1 + (time.monotonic() - began) / 1.5  # the shortest time between two, less jitter
        assert await asyncio.to_thread(logins, guarded) - before <= allowed

        secret(Path(wrong), PASSWORD)
        assert await client.get("/fleet/k") is None  # at once: the file has changed


@pytest.mark.etcd
async def test_a_follower_that_is_denied_says_so_once_and_goes_on_when_the_password_is_right(
    guarded: EtcdServer, wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fleet")
    before = await asyncio.to_thread(logins, guarded)
    keys = Keys.under("/fleet/followed")
    async with Etcd(table(guarded, secret(Path(wrong).with_name("right"), PASSWORD)).client_settings()) as good:
        await ensure_cluster(good, keys, "c" * 32)
    async with Etcd(table(guarded, wrong).client_settings()) as client:
        follower = Follower(client, keys)
        running = asyncio.create_task(follower.run())
        await asyncio.sleep(4)
        assert follower.link is ConnectionState.DENIED
        assert len([each for each in caplog.records if "denied" in each.getMessage()]) == 1
        assert await asyncio.to_thread(logins, guarded) - before <= 1 + 3
        secret(Path(wrong), PASSWORD)
        async with asyncio.timeout(20):
            while (await follower.next()).link is not ConnectionState.LIVE:
                pass
        running.cancel()


@pytest.mark.etcd
@pytest.mark.parametrize("trouble", ["wrong", "missing", "readable"])
async def test_a_scheduler_that_is_denied_waits_and_leads_when_the_password_is_right(
    guarded: EtcdServer, wrong: str, caplog: pytest.LogCaptureFixture, trouble: str
) -> None:
    caplog.set_level(logging.INFO, "fleet")
    spoil(Path(wrong), trouble)
    settings = Settings(
        etcd=EtcdTable(guarded.endpoints, f"/fleet/{trouble}", username="fleet", password_file=wrong)
    )
    async with Etcd(settings.etcd.client_settings()) as client:
        work = asyncio.create_task(Scheduler(client, settings, "host").run())
        await asyncio.sleep(4)
        assert not work.done()
        assert len([each for each in caplog.records if "password" in each.getMessage()]) == 1
        mend(Path(wrong))
        async with asyncio.timeout(30):
            while not await _leads(client, settings):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


def spoil(password: Path, trouble: str) -> None:
    if trouble == "missing":
        password.unlink()
    if trouble == "readable":
        password.chmod(0o644)


def mend(password: Path) -> None:
    password.unlink(missing_ok=True)
    secret(password, PASSWORD)


async def _leads(client: Etcd, settings: Settings) -> bool:
    try:
        return await client.get(Keys.under(settings.etcd.prefix).leader) is not None
    except RegistryDenied:
        return False


@pytest.mark.etcd
async def test_a_scheduler_without_etcd_logs_a_line_and_not_one_a_second(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "fleet")
    settings = Settings(etcd=EtcdTable(("http://127.0.0.1:1",)))
    async with Etcd(settings.etcd.client_settings()) as client:
        work = asyncio.create_task(Scheduler(client, settings, "host").run())
        await asyncio.sleep(5)
        assert len(caplog.records) == 1
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


def test_credentials_that_cannot_be_used_are_shown_by_commands_and_waited_for_by_daemons() -> None:
    assert issubclass(CredentialsUnusable, UserError)
    assert issubclass(CredentialsUnusable, RegistryDenied)

"""The doctor at real patients: members that are dead or hang, alarms, certificates, users, versions, records."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleettui.access.grants import Grants
from fleettui.doctor.examine import examine
from fleettui.doctor.finding import Finding, Level
from fleettui.doctor.reading import read_facts
from registry.etcd import Etcd, EtcdSettings
from registry.keys import Keys
from registry.model import Machine
from registry.records import encode
from registry.roles import Role, User
from registry.sync.sentinel import ensure_cluster
from tests.access.fleet import QUICK, ROOT_PASSWORD, password_file
from tests.certificates import Authority
from tests.etcd_server import EtcdServer, Tls, available_versions, free_ports

KEYS = Keys()

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(180)]


async def found(settings: EtcdSettings, source: str = "") -> list[Finding]:
    return examine(await read_facts(settings, KEYS, source))


def has(findings: list[Finding], level: Level, *words: str) -> bool:
    return any(each.level is level and all(word in each.text for word in words) for each in findings)


@pytest.fixture
def three(tmp_path: Path) -> Iterator[EtcdServer]:
    with EtcdServer(tmp_path / "etcd", members=3) as server:
        yield server


async def test_a_member_that_is_dead_and_one_that_hangs_are_named_and_cost_little(three: EtcdServer) -> None:
    settings = EtcdSettings(three.endpoints)
    async with Etcd(settings) as etcd:
        await ensure_cluster(etcd, KEYS, "c1")
    findings = await found(settings)
    assert has(findings, Level.OK, "3 of 3 endpoints answer")
    assert has(findings, Level.OK, "3 members, 1 may be lost")
    assert has(findings, Level.OK, "clocks")
    assert has(findings, Level.OK, "no alarm")
    assert has(findings, Level.OK, "fleet c1")
    dead, hung = (each for each in three.members if each is not three.leader())
    dead.kill()
    findings = await found(settings)
    assert has(findings, Level.WARNING, dead.url, "connection refused")
    assert has(findings, Level.OK, "fleet c1")
    unknown = EtcdSettings(tuple(each for each in three.endpoints if each != dead.url))
    assert has(await found(unknown), Level.WARNING, f"member {dead.name}", "none of our endpoints")
    hung.freeze()
    findings = await found(settings)
    assert has(findings, Level.WARNING, hung.url, "timed out")
    hung.thaw()
    three.kill()
    findings = await found(settings)
    assert has(findings, Level.BROKEN, "no endpoint answers")
    assert all(has(findings, Level.BROKEN, each, "connection refused") for each in three.endpoints)


@pytest.mark.parametrize("version", available_versions())
async def test_an_alarm_and_the_version(version: str, tmp_path: Path) -> None:
    with EtcdServer(tmp_path / "etcd", version) as server:
        settings = EtcdSettings(server.endpoints)
        status = server.post("/maintenance/status", {})
        member = status["header"]["member_id"]
        server.post("/maintenance/alarm", {"action": "ACTIVATE", "memberID": member, "alarm": "NOSPACE"})
        findings = await found(settings)
    assert has(findings, Level.BROKEN, "member m0 is out of room (NOSPACE)")
    words = "end of its life" if version == "3.4" else f"etcd {status['version']}"
    assert any(words in each.text for each in findings if each.subject == "version")


@pytest.mark.skipif(len(available_versions()) < 2, reason="needs etcd 3.4 and 3.5")
async def test_mixed_minors_are_broken(tmp_path: Path) -> None:
    with EtcdServer(tmp_path / "old", "3.4") as old, EtcdServer(tmp_path / "new", "3.5") as new:
        findings = await found(EtcdSettings((*old.endpoints, *new.endpoints)))
    assert has(findings, Level.BROKEN, "different versions: ", "3.4.", "3.5.")


def files(directory: Path, authority: Authority, *, server_h: float = 2400, client_h: float = 2400) -> Tls:
    directory.mkdir(exist_ok=True)
    (directory / "ca.pem").write_bytes(authority.certificate_pem)
    pairs = []
    for name, ends_h in (("server", server_h), ("client", client_h)):
        certificate, key = authority.issue("127.0.0.1", begins_h=-48, ends_h=ends_h)
        pair = directory / f"{name}.pem", directory / f"{name}.key"
        pair[0].write_bytes(certificate)
        pair[1].write_bytes(key)
        pair[1].chmod(0o600)
        pairs.append(pair)
    return Tls(directory / "ca.pem", *pairs[0], *pairs[1], require_client=True)


def secured(server: EtcdServer, tls: Tls) -> EtcdSettings:
    return EtcdSettings(server.endpoints, str(tls.ca), str(tls.client_cert), str(tls.client_key))


async def test_certificates_that_run_out_are_told_before_and_after(tmp_path: Path) -> None:
    authority = Authority()
    tls = files(tmp_path / "soon", authority, server_h=24 * 9, client_h=24 * 5)
    with EtcdServer(tmp_path / "etcd", tls=tls) as server:
        findings = await found(secured(server, tls))
        assert has(findings, Level.OK, "1 of 1 endpoints answer")
        assert has(findings, Level.WARNING, "the client certificate", "runs out in 5 days")
        assert has(findings, Level.WARNING, f"the certificate that {server.endpoints[0]} shows", "in 9 days")
        assert has(findings, Level.WARNING, "the authority certificate")  # a day, as tests make it
        past = files(tmp_path / "past", authority, client_h=-3)
        findings = await found(secured(server, past))
        assert has(findings, Level.BROKEN, "the client certificate", "ran out 3 hours ago")
        assert has(findings, Level.BROKEN, server.endpoints[0], "certificate")
        os.chmod(past.client_key, 0o644)  # noqa: PTH101 - ASYNC240 forbids the other
        findings = await found(secured(server, past))
        assert has(findings, Level.BROKEN, "client.key", "its mode is 0644")
        (tmp_path / "past" / "authority.pem").touch(0o644)
        assert has(await found(secured(server, past)), Level.BROKEN, "authority.pem", "others may read it")


async def test_a_server_s_certificate_that_ran_out_is_what_its_endpoint_says(tmp_path: Path) -> None:
    tls = files(tmp_path / "tls", Authority(), server_h=-3)
    with EtcdServer(tmp_path / "etcd", tls=tls) as server:
        findings = await found(secured(server, tls))
    assert has(findings, Level.BROKEN, server.endpoints[0], "certificate has expired")


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[EtcdSettings]:
    """An etcd with users on and a fleet in it; settings of root."""
    with EtcdServer(tmp_path / "etcd", flags=QUICK) as server:
        async with Etcd(EtcdSettings(server.endpoints)) as etcd:
            await Grants(etcd, KEYS).turn_on(ROOT_PASSWORD)
        path = password_file(tmp_path / "root", ROOT_PASSWORD)
        yield EtcdSettings(server.endpoints, username="root", password_file=str(path))


async def test_who_may_do_what_is_told(guarded: EtcdSettings, tmp_path: Path) -> None:
    async with Etcd(guarded) as etcd:
        grants = Grants(etcd, KEYS)
        for name, role in (("ann", Role.OPERATOR), ("bob", Role.VIEWER), ("eve", Role.OPERATOR)):
            await grants.grant(User(name, role), f"{name}'s password")
        role_of_eve = User("eve", Role.OPERATOR).etcd_role(KEYS)
        held = await grants.admin.ranges_of(role_of_eve)
        await grants.admin.set_ranges(role_of_eve, [each for each in held if b"units" not in each.key])

    async def told(name: str, password: str) -> list[Finding]:
        path = password_file(tmp_path / name, password)
        return await found(replace(guarded, username=name, password_file=str(path)))

    assert has(await found(guarded), Level.OK, "root is etcd's root")
    assert has(await told("ann", "ann's password"), Level.OK, "ann is an operator")
    assert has(await told("bob", "bob's password"), Level.OK, "bob is a viewer", "change nothing")
    assert has(
        await told("eve", "eve's password"), Level.BROKEN, "eve is operator, and lacks write of /fleet/units/"
    )
    findings = await told("ann", "wrong")
    assert has(findings, Level.BROKEN, "ann", "refused the user name or password")
    assert has(findings, Level.BROKEN, "the registry cannot be read")
    nobody = replace(guarded, username=None, password_file=None)
    assert has(await found(nobody), Level.BROKEN, "etcd wants a user, and none is configured")


async def test_what_is_wrong_in_the_registry_is_told(etcd: EtcdServer, prefix: str) -> None:
    keys, settings = Keys.under(prefix), EtcdSettings(etcd.endpoints)

    async def told() -> list[Finding]:
        return examine(await read_facts(settings, keys, ""))

    assert has(await told(), Level.BROKEN, "there is no fleet below")
    async with Etcd(settings) as client:
        await ensure_cluster(client, keys, "c1")
        await client.put(keys.machine("aa"), encode(Machine("aa", "core-1", "10.0.0.1", "b", agent_version="0.0")))
        await client.put(keys.unit("bad.service"), b"{")
    findings = await told()
    assert has(findings, Level.BROKEN, "no scheduler leads")
    assert has(findings, Level.WARNING, "agents are of version 0.0")
    assert has(findings, Level.WARNING, keys.unit("bad.service"), "does not parse")


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fleettui.cli", "doctor", *arguments]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("FLEET")}
    return subprocess.run(
        command,
        env={**kept, "HOME": "/nonexistent", **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


async def test_the_command_ends_with_2_and_says_why_when_nothing_answers(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    done = await asyncio.to_thread(run, f"--endpoint=http://127.0.0.1:{port}")
    assert done.returncode == 2
    assert "broken   endpoint" in done.stdout
    assert "-> start etcd there" in done.stdout
    assert done.stdout.splitlines()[-1] == "0 fine, 0 warnings, 2 broken"
    assert done.stderr == ""
    done = await asyncio.to_thread(run, "--json", f"--endpoint=http://127.0.0.1:{port}")
    answer: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode, answer["level"]) == (2, "broken")
    assert {each["subject"] for each in answer["findings"]} == {"endpoint", "registry"}
    config = tmp_path / "fleet.toml"
    config.write_text("[etcd]\nendpoint = 'x'\n")
    done = await asyncio.to_thread(run, f"--config={config}")
    assert done.returncode == 2
    assert "did you mean endpoints?" in done.stdout
    done = await asyncio.to_thread(run, FLEET_ETCD_ENDPOINTS="http://10.9.9.9", FLEET_ETCD_USERNAME="ann")
    assert done.returncode == 2
    assert "in clear" in done.stdout

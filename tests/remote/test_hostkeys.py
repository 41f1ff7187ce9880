"""Whose word counts for a host key: the user's, then an earlier connection's, then the registry's. Real sshd."""

from __future__ import annotations

import asyncio
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from fleettui.remote import HostKeyRefused, Pins, Remote
from fleettui.remote.pins import Pin, directory, forget, parse
from registry.errors import FleetError, UserError
from registry.model import Machine
from tests.remote.conftest import Home, StartSshd, machine
from tests.remote.sshd import Sshd, make_key

LOCAL = "127.0.0.1"


@dataclass
class Laptop:
    """An operator's programs, which remember host keys; `told` is what they say of them."""

    home: Home
    place: Path
    cluster: str = "c1"
    told: list[tuple[str, bool]] = field(default_factory=list)

    async def ask(self, record: Machine, **ssh: object) -> str:
        """Which server answers: the directory of its host key."""
        pins = Pins(self.place, lambda: self.cluster)
        tell = lambda line, warning: self.told.append((line, warning))  # noqa: E731
        async with Remote(self.home.ssh(**ssh), pins=pins, on_first=tell) as remote:
            return (await remote.run(record, ["sh", "-c", "echo $SSH_CONNECTION"])).stdout.decode().split()[3]

    async def refused(self, record: Machine, **ssh: object) -> str:
        with pytest.raises(FleetError) as caught:
            await self.ask(record, **ssh)
        text = str(caught.value)
        assert isinstance(caught.value, HostKeyRefused), text
        assert "\n" not in text
        return text


@pytest.fixture
def laptop(home: Home, tmp_path: Path) -> Laptop:
    return Laptop(home, directory({"XDG_STATE_HOME": str(tmp_path / "state")}))


@pytest.fixture
def good(start_sshd: StartSshd) -> Sshd:
    return start_sshd()


@pytest.fixture
def evil(start_sshd: StartSshd) -> Sshd:
    """Another server, with an account for the operator, to which the registry's word leads."""
    return start_sshd()


def moved(record: Machine, server: Sshd, **changes: object) -> Machine:
    """The record rewritten: it now speaks of another server, with that one's host keys."""
    return replace(record, ssh_port=server.port, host_keys=(server.host_key,), **changes)  # type: ignore[arg-type]


async def test_a_rewritten_record_leads_to_no_other_server(laptop: Laptop, good: Sshd, evil: Sshd) -> None:
    record = machine(good)
    assert await laptop.ask(record) == str(good.port)
    for rewritten in (moved(record, evil), moved(record, evil, hostname="other")):
        text = await laptop.refused(rewritten)
        assert "pinned" in text
        assert f"fleetctl ssh --forget-key {record.id}" in text
    assert await laptop.ask(record) == str(good.port)


async def test_first_sight_is_told_once_with_the_fingerprint(laptop: Laptop, good: Sshd) -> None:
    await laptop.ask(machine(good))
    await laptop.ask(machine(good))
    ((line, warning),) = laptop.told
    assert fingerprint(good) in line
    assert not warning


async def test_what_the_registry_says_later_does_not_matter(laptop: Laptop, good: Sshd, evil: Sshd) -> None:
    record = machine(good)
    await laptop.ask(record)
    for keys in ((), (evil.host_key,), ("no key",)):
        assert await laptop.ask(replace(record, host_keys=keys)) == str(good.port)


async def test_forgetting_the_key_is_the_remedy(laptop: Laptop, good: Sshd) -> None:
    await laptop.ask(machine(good))
    good.stop()
    good.change_host_key()
    good.start()
    text = await laptop.refused(machine(good))
    assert [pin.machine for pin in forget(laptop.place, text.split("--forget-key ")[1].split(",")[0])]
    assert await laptop.ask(machine(good)) == str(good.port)


async def test_a_key_of_the_user_wins_over_the_registry_by_name_and_by_address(
    laptop: Laptop, home: Home, good: Sshd, evil: Sshd
) -> None:
    for line in (
        evil.known_hosts_line.replace(evil.host_key, good.host_key),
        f"core-1 {good.host_key}\n",
        f"[core-1]:{evil.port} {good.host_key}\n",
        f"CORE-9,core-1 {good.host_key}\n",
    ):
        home.write("known_hosts", line)
        assert "known_hosts" in await laptop.refused(moved(machine(good), evil)), line
    assert laptop.told == []


async def test_hashed_entries_are_read(laptop: Laptop, home: Home, good: Sshd, evil: Sshd) -> None:
    file = home.write("known_hosts", evil.known_hosts_line.replace(evil.host_key, good.host_key))
    hashing = ["ssh-keygen", "-q", "-H", "-f", str(file)]
    await asyncio.to_thread(subprocess.run, hashing, check=True, capture_output=True)
    assert file.read_text().startswith("|1|")
    assert "ssh-keygen -R" in await laptop.refused(moved(machine(good), evil))


async def test_an_alias_of_the_users_configuration_wins(laptop: Laptop, home: Home, good: Sshd, evil: Sshd) -> None:
    home.write("config", "Host core-1\n  HostKeyAlias fleet-core-1\n")
    home.write("known_hosts", f"fleet-core-1 {good.host_key}\n{evil.known_hosts_line}")
    assert await laptop.ask(machine(good)) == str(good.port)
    assert "known_hosts" in await laptop.refused(moved(machine(good), evil))


async def test_a_new_key_of_the_user_wins_over_the_pinned_one(laptop: Laptop, home: Home, good: Sshd) -> None:
    await laptop.ask(machine(good))
    good.stop()
    good.change_host_key()
    good.start()
    await laptop.refused(machine(good))
    home.write("known_hosts", good.known_hosts_line)
    assert await laptop.ask(machine(good)) == str(good.port)
    home.write("known_hosts", "")
    assert await laptop.ask(machine(good)) == str(good.port)  # the newer key is pinned now


async def test_another_host_that_the_user_knows_is_not_the_machine(
    laptop: Laptop, home: Home, good: Sshd, evil: Sshd
) -> None:
    await laptop.ask(machine(good))
    home.write("known_hosts", f"evil.example {evil.host_key}\n{evil.known_hosts_line}")
    for name in ("evil.example", "core-1"):
        assert "--forget-key" in await laptop.refused(moved(machine(good), evil, hostname=name))


async def test_the_address_of_another_port_never_speaks_against_a_key(
    laptop: Laptop, home: Home, good: Sshd, evil: Sshd
) -> None:
    home.write("known_hosts", f"{LOCAL} {evil.host_key}\n")
    assert await laptop.ask(machine(good)) == str(good.port)


async def test_a_revoked_key_is_refused_by_whoever_it_is_vouched_for(
    laptop: Laptop, home: Home, good: Sshd
) -> None:
    await laptop.ask(machine(good))
    for line in (f"@revoked * {good.host_key}\n", f"@revoked core-1 {good.host_key}\n{good.known_hosts_line}"):
        home.write("known_hosts", line)
        for strict in (True, False):
            assert "revoked" in await laptop.refused(machine(good), strict_host_key_checking=strict)


async def test_a_revoked_key_of_another_host_changes_nothing(
    laptop: Laptop, home: Home, good: Sshd, evil: Sshd
) -> None:
    home.write("known_hosts", f"@revoked * {evil.host_key}\n")
    assert "is in neither the registry nor known_hosts" in await laptop.refused(machine(good, keys=()))
    assert await laptop.ask(machine(good)) == str(good.port)


async def test_lenient_checking_pins_what_it_lets_in(laptop: Laptop, good: Sshd, evil: Sshd) -> None:
    record = machine(good, keys=())
    assert await laptop.ask(record, strict_host_key_checking=False) == str(good.port)
    for strict in (True, False):
        await laptop.refused(moved(record, evil), strict_host_key_checking=strict)


async def test_an_authority_of_the_user_is_not_passed_by(laptop: Laptop, home: Home, good: Sshd) -> None:
    authority = make_key(home.path / "authority")
    home.write("known_hosts", f"@cert-authority core-* {authority}\n")
    assert "signed by" in await laptop.refused(machine(good))


async def test_a_certificate_for_the_machines_name_is_taken(
    laptop: Laptop, home: Home, start_sshd: StartSshd, tmp_path: Path
) -> None:
    authority = make_key(home.path / "authority")
    home.write("known_hosts", f"@cert-authority core-* {authority}\n")
    server = start_sshd(f"HostCertificate {tmp_path}/sshd1/host_key-cert.pub")
    for principal, taken in (("core-1", True), ("core-2", False)):
        sign = ["ssh-keygen", "-q", "-s", str(home.path / "authority"), "-I", "x", "-h", "-n", principal]
        await asyncio.to_thread(subprocess.run, [*sign, str(server.directory / "host_key.pub")], check=True)
        server.stop()
        server.start()
        if taken:
            assert await laptop.ask(machine(server, keys=())) == str(server.port)
        else:
            await laptop.refused(machine(server, keys=()))


async def test_another_cluster_id_shakes_a_pin_off_with_a_warning_alone(
    laptop: Laptop, good: Sshd, evil: Sshd
) -> None:
    await laptop.ask(machine(good))
    laptop.cluster, laptop.told = "../../c2 \ud800", []
    await laptop.ask(moved(machine(good), evil))
    ((line, warning),) = laptop.told
    assert warning
    assert "another key" in line
    assert {each.parent for each in laptop.place.parent.rglob("*") if each.is_file()} == {laptop.place}


async def test_many_first_connections_at_once_pin_one_key(laptop: Laptop, good: Sshd) -> None:
    await asyncio.gather(*(laptop.ask(machine(good)) for _ in range(5)))
    (file,) = [each for each in laptop.place.iterdir() if not each.name.startswith(".")]
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(file.read_text().splitlines()) == 1
    assert len({line for line, _ in laptop.told}) == 1


async def test_pins_that_others_may_write_or_that_are_broken_are_refused(laptop: Laptop, good: Sshd) -> None:
    await laptop.ask(machine(good))
    file = laptop.place / "c1"
    file.chmod(0o666)
    with pytest.raises(UserError, match=r"mode 0666.*chmod 600"):
        await laptop.ask(machine(good))
    file.chmod(0o600)
    file.write_text("garbage\n")
    with pytest.raises(UserError, match="line 1"):
        await laptop.ask(machine(good))
    file.write_text(f"{machine(good).id} 2026-01-01 core-1 ssh-ed25519 AAAA\n")
    with pytest.raises(UserError, match="--forget-key"):
        await laptop.ask(machine(good))


async def test_a_state_directory_that_cannot_be_written_is_told_each_time(laptop: Laptop, good: Sshd) -> None:
    laptop.place = Path("/proc/none/host-keys")
    assert await laptop.ask(machine(good)) == str(good.port)
    ((line, warning),) = laptop.told
    assert warning
    assert "cannot keep" in line


def test_a_machine_to_forget_is_meant_by_id_beginning_or_name(tmp_path: Path) -> None:
    for cluster, id_, name in (("c1", "a" * 32, "core-1"), ("c2", "ab" * 16, "core-2"), ("c2", "b" * 32, "core-1")):
        Pins(tmp_path, lambda cluster=cluster: cluster).keep(id_, "ssh-ed25519 AAAA", (name,))  # type: ignore[misc]
    with pytest.raises(UserError, match="2 machines"):
        forget(tmp_path, "core-1")
    assert forget(tmp_path, "nothing") == forget(tmp_path, "") == []
    assert [pin.machine for pin in forget(tmp_path, "core-2")] == ["ab" * 16]
    assert [pin.machine for pin in forget(tmp_path, "b")] == ["b" * 32]


def test_a_pin_is_read_as_it_was_written() -> None:
    pin = Pin("a" * 32, "ssh-ed25519 AAAA", "2026-01-31", ("core-1", "[::1]:22"))
    assert parse(pin.line(), "file") == {pin.machine: pin}
    assert parse(replace(pin, names=()).line(), "file")[pin.machine].names == ()


def fingerprint(server: Sshd) -> str:
    shown = subprocess.run(
        ["ssh-keygen", "-lf", str(server.directory / "host_key.pub")], capture_output=True, text=True, check=True
    )
    return shown.stdout.split()[1]

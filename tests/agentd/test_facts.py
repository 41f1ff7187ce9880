"""What a machine registers with is what every reader takes, or the agent says at once what is wrong."""

from __future__ import annotations

import socket
from hashlib import sha256
from pathlib import Path

import pytest

from agentd import facts
from registry.errors import UserError
from registry.keys import Address, Table
from registry.program import config
from registry.program.config import Settings
from registry.records import decode, encode
from registry.units import quadlet

MACHINE = "0123456789abcdef0123456789abcdef"


def settings(key: str, value: object) -> Settings:
    own = config.put(Settings(), "agent", "machine_id", MACHINE, "test")
    return config.put(own, "agent", key, value, "test")


@pytest.mark.parametrize(
    "name", ["two words", "-leading", "ümläut", "a\x1b[31m", "x" * 400, "...", "core_1.example.org"]
)
def test_a_host_whatever_its_name_registers_with_one_that_can_be_read(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    machine = facts.describe(settings("public_ip", "10.0.0.1"), "252")
    assert decode(Address(Table.MACHINES, MACHINE), encode(machine)) == machine
    assert machine.hostname == name or name != "core_1.example.org"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("public_ip", "10.0.0.1; id"),
        ("public_ip", "-oX"),
        ("metadata", {"zone": "\u202eb"}),
        ("metadata", {"\x1b": "b"}),
    ],
)
def test_a_configuration_that_nobody_could_read_in_the_registry_is_a_plain_error(key: str, value: object) -> None:
    with pytest.raises(UserError, match=r"\[agent\]") as caught:
        facts.describe(settings(key, value), "252")
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_odd_ports_and_keys_of_the_host_are_not_registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sshd_config").write_text("Port 99999\n")
    (tmp_path / "ssh_host_a_key.pub").write_text("ssh-ed25519 <script>\n")
    (tmp_path / "ssh_host_b_key.pub").write_text(f"ssh-ed25519 {'A' * 68} root@host\n")
    monkeypatch.setattr(facts, "SSHD_CONFIG", tmp_path / "sshd_config")
    monkeypatch.setattr(facts, "HOST_KEYS", tmp_path)
    machine = facts.describe(settings("public_ip", "10.0.0.1"), "252")
    assert (machine.ssh_port, machine.host_keys) == (22, (f"ssh-ed25519 {'A' * 68}",))


def test_of_the_keys_for_secrets_the_hash_of_their_file_is_told_or_why_none_is_opened(tmp_path: Path) -> None:
    key = tmp_path / "secrets.key"
    here = settings("secrets_key_file", str(key))
    assert f"cannot read {key}: No such file" in facts.describe(here, "252").opens_nothing
    key.write_text("fleet-secrets-key-1 x\n")
    key.chmod(0o644)
    assert f"run: chmod 600 {key}" in facts.describe(here, "252").opens_nothing
    key.chmod(0o600)
    machine = facts.describe(here, "252")
    assert (machine.opens_nothing, machine.secrets_key) == ("", sha256(key.read_bytes()).hexdigest())


def test_podmans_generator_is_asked_once_for_each_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator, asked = tmp_path / "generator", tmp_path / "asked"
    monkeypatch.setitem(quadlet.GENERATORS, "system", str(generator))
    here = settings("public_ip", "10.0.0.1")
    assert facts.describe(here, "252").podman_version == ""
    for version, told in (("5.4.2", "5.4.2"), ("6.0.1", "6.0.1"), ("one two", "")):
        generator.unlink(missing_ok=True)
        generator.write_text(f"#!/bin/sh\necho >>{asked}\necho '{version}'\n")
        generator.chmod(0o755)
        assert [facts.describe(here, "252").podman_version for _ in range(3)] == [told] * 3
    assert asked.read_text() == "\n" * 3

"""A fleet of bare hosts gets other passwords, certificates and another authority, and puts users and machines out.

Ten units run meanwhile and are looked at all the time: none is touched.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256

import pytest

from fleettui.access.authority import Authority
from fleettui.demo.process import run
from tests.cluster.nodes import eventually
from tests.install.laptop import Laptop, laptop_with, of_units
from tests.install.roots import BareNode

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

UNIT = "[Service]\nExecStart=/bin/sleep infinity\n\n[X-Fleet]\nMachineMetadata=runs=units\n"
NAMES = [f"w@{number}.service" for number in range(10)]
LEAVES = ("client", "etcd/server", "etcd/peer")


@pytest.fixture(scope="module")
def laptop() -> Iterator[Laptop]:
    """A fleet of three hosts, each with a member of the registry and a scheduler; ten units run on two of them."""
    with laptop_with(("bookworm", "trixie", "trixie")) as found:
        done = found.join(*found.hosts.nodes, etcd=str(found.etcd))
        assert done.returncode == 0, done.stderr
        for node in found.hosts.nodes[:2]:
            assert found("fleetctl", "set-metadata", node.name, "runs=units").returncode == 0
        (found.home / "w@.service").write_text(UNIT)
        done = found("fleetctl", "start", *(str(found.home / name) for name in NAMES))
        assert done.returncode == 0, done.stderr
        yield found


@contextmanager
def watched(laptop: Laptop) -> Iterator[None]:
    """Nothing happens to a unit while this lasts: neither seen by looking, nor told by its invocation."""
    nodes = laptop.hosts.nodes[:2]
    before = [of_units(node, NAMES) for node in nodes]
    assert sum(each.count("ActiveState=active") for each in before) == len(NAMES)
    seen: set[tuple[str, ...]] = set()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            seen.add(tuple(of_units(node, NAMES) for node in nodes))

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield
        listed = laptop("fleetctl", "list-units", "--json")
        assert listed.returncode == 0, listed.stderr
        assert len(json.loads(listed.stdout)) == len(NAMES)
        eventually("all machines are there", partial(there, laptop), timeout_s=60, interval_s=1)
    finally:
        over.set()
        looking.join(60)
    assert seen == {tuple(before)}
    assert [of_units(node, NAMES) for node in nodes] == before


def there(laptop: Laptop) -> bool:
    listed = json.loads(laptop("fleetctl", "list-machines", "--json").stdout)
    return len([each for each in listed if each["state"] != "lost"]) == len(laptop.hosts.nodes)


def held(node: BareNode, *names: str) -> list[bytes]:
    return [(node.root.directory / "etc/fleet" / name).read_bytes() for name in names]


def complaints(node: BareNode) -> str:
    """What agent, scheduler and etcd said about being refused."""
    return node.journal("-u", "fleet-agentd", "-u", "fleet-scheduler", "-p", "warning", "--no-pager")


def test_other_passwords_and_certificates(laptop: Laptop) -> None:
    secrets = ("agent.password", "scheduler.password", *(f"{each}.pem" for each in LEAVES))
    before = [held(node, *secrets) for node in laptop.hosts.nodes]
    with watched(laptop):
        done = laptop("fleetctl", "access", "rotate")
        assert done.returncode == 0, done.stderr
    for node, old in zip(laptop.hosts.nodes, before, strict=True):
        assert not {*old} & {*held(node, *secrets)}, node.name
    assert laptop("fleetctl", "access", "check").returncode == 0


def test_another_authority(laptop: Laptop) -> None:
    old = laptop.files.authority()
    assert old
    with watched(laptop):
        done = laptop("fleetctl", "access", "rotate", "--authority")
        assert done.returncode == 0, done.stderr
    authority = Authority.load(laptop.files.directory)
    assert not authority.replaced
    for node in laptop.hosts.nodes:
        assert held(node, "ca.pem", "etcd/ca.pem") == [authority.certificate_pem] * 2
        assert all(authority.signed(each) for each in held(node, *(f"{each}.pem" for each in LEAVES)))
        assert not any(old.signed(each) for each in held(node, *(f"{each}.pem" for each in LEAVES)))
    stale = laptop("fleettui", "join", *(f"root@{node.spec.address}" for node in laptop.hosts.nodes))
    assert stale.stdout == "Nothing to do: everything is as it should be.\n", stale.stdout + stale.stderr


KEEPER = """\
[Service]
ExecStart=/bin/sh -c 'sha256sum <$CREDENTIALS_DIRECTORY/db >$RUNTIME_DIRECTORY/seen; exec sleep infinity'
RuntimeDirectory=keeps
[X-Fleet]
Secret=db
MachineMetadata=runs=units
"""


def test_another_key_for_secrets(laptop: Laptop) -> None:
    """The unit with a secret goes on with what it has, and with the new key once it was rolled out."""
    (laptop.home / "secret").write_text("correct horse")
    (laptop.home / "keeps.service").write_text(KEEPER)
    assert "told" in laptop_shell(laptop, "fleetctl secret set db < secret && echo told")
    done = laptop("fleetctl", "start", str(laptop.home / "keeps.service"))
    assert done.returncode == 0, done.stderr
    sum_ = sha256(b"correct horse").hexdigest()
    eventually("it has it", lambda: seen(laptop) == [sum_], timeout_s=30)
    nodes = laptop.hosts.nodes
    old, ran = held(nodes[0], "secrets.key"), [of_units(node, [*NAMES, "keeps.service"]) for node in nodes]
    assert [held(node, "secrets.key") for node in nodes] == [old] * 3
    told = laptop("fleetctl", "access", "rotate", "--secrets")
    assert told.returncode == 0, told.stderr
    assert "keeps.service has versions that are sealed for the earlier key" in told.stdout
    both = held(nodes[0], "secrets.key")[0]
    assert all(held(node, "secrets.key") == [both] for node in nodes)
    assert both.endswith(old[0])
    assert [of_units(node, [*NAMES, "keeps.service"]) for node in nodes] == ran
    done = laptop("fleetctl", "rollout", "keeps.service", "--healthy-for", "1s")
    assert done.returncode == 0, done.stderr
    done = laptop("fleetctl", "access", "rotate", "--secrets")
    assert "The earlier key opens nothing any more" in done.stdout, done.stderr
    (new,) = {held(node, "secrets.key")[0] for node in nodes}
    assert both.startswith(new)
    assert new != both
    done = laptop("fleetctl", "restart", "keeps.service")
    assert done.returncode == 0, done.stderr
    eventually("it has it again", lambda: seen(laptop) == [sum_], timeout_s=30)

    # One has an earlier key, and that is seen here, where the fleet was made.
    path = nodes[2].root.directory / "etc/fleet/secrets.key"
    path.write_bytes(old[0])
    nodes[2].exec(["systemctl", "restart", "fleet-agentd"])
    why = f"{nodes[2].name} opens no secret: it has another key than the fleet's"
    eventually("it is told", lambda: why in laptop("fleetctl", "secret", "list").stderr, timeout_s=60, interval_s=1)
    assert why in laptop("fleetctl", "doctor").stdout
    done = laptop.join(nodes[2])
    assert done.returncode == 0, done.stderr
    assert held(nodes[2], "secrets.key") == [new]
    assert laptop("fleetctl", "destroy", "keeps.service").returncode == 0


def seen(laptop: Laptop) -> list[str]:
    """What the unit with the secret has been given, as it says itself."""
    script = "cat /run/keeps/seen 2>/dev/null | cut -d' ' -f1"
    return [out for node in laptop.hosts.nodes[:2] if (out := node.exec(["sh", "-c", script]).stdout.strip())]


def laptop_shell(laptop: Laptop, script: str) -> str:
    words = ["sh", "-ec", f"cd {laptop.home}; PATH={sys.prefix}/bin:$PATH; {script}"]
    return run(words, timeout_s=60, environment=laptop.environ).stdout


def test_another_password_of_one_user(laptop: Laptop) -> None:
    node = laptop.hosts.nodes[0]
    users = [
        each["user"] for each in json.loads(laptop("fleetctl", "access", "list", "--json").stdout)
        if each["machine"] == node.name
    ]  # fmt: skip
    assert sorted(each.partition("-")[0] for each in users) == ["agent", "scheduler"]
    with watched(laptop):
        for user in (*users, laptop.files.operator, "root"):
            done = laptop("fleetctl", "access", "rotate", user)
            assert done.returncode == 0, done.stderr


def test_a_user_is_put_out(laptop: Laptop) -> None:
    with watched(laptop):
        assert laptop("fleetctl", "access", "grant", "ann", "operator").returncode == 0
        config = laptop.files.directory / "users/ann/fleet.toml"
        as_ann = partial(laptop, "fleetctl", "--config", str(config))
        assert as_ann("list-units").returncode == 0
        assert laptop("fleetctl", "access", "revoke", "ann", "--yes").returncode == 0
        refused = as_ann("list-units")
        assert refused.returncode == 1
        assert "etcd refused the user name or password" in refused.stderr


def test_a_machine_is_put_out(laptop: Laptop) -> None:
    """One without units: those of another are placed elsewhere, and that is said before."""
    node = laptop.hosts.nodes[2]
    count = len(laptop.hosts.nodes)
    nodes = laptop.hosts.nodes[:2]
    before = [of_units(each, NAMES) for each in nodes]
    done = laptop("fleetctl", "access", "revoke", node.name, "--yes")
    assert done.returncode == 0, done.stderr
    assert f"Revoked agent-{node.spec.machine_id}" in done.stdout
    assert f"Revoked scheduler-{node.spec.machine_id}" in done.stdout

    def is_out() -> bool:
        listed = json.loads(laptop("fleetctl", "list-machines", "--json").stdout)
        return len([each for each in listed if each["state"] != "lost"]) == count - 1

    eventually("it is lost", is_out, timeout_s=60, interval_s=1)
    assert [of_units(each, NAMES) for each in nodes] == before
    assert "denied" in complaints(node) or "refus" in complaints(node)
    again = laptop.join(node)
    assert again.returncode == 0, again.stderr
    eventually("it is back", partial(there, laptop), timeout_s=60, interval_s=1)
    assert [of_units(each, NAMES) for each in nodes] == before

"""What a join plans, from facts alone: nothing that is done already, and nothing before what it needs."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from fleettui.install import facts, steps
from fleettui.install.etcd_program import of_package
from fleettui.install.facts import HostFacts, UnitFacts
from fleettui.install.join import members_of
from fleettui.install.objections import objections
from fleettui.install.plan import FleetFacts, JoinGoal, Metrics, client_url, own_list, peer_url, plan, tolerance
from registry.etcd import Member

UNITS = {"fleet-agentd.service": "[Service]\n", "fleet-scheduler.service": "[Service]\n"}
ROOM = {"/opt": 10**7, "/var/lib": 10**7, "/etc": 10**7}


def host(number: int) -> HostFacts:
    return HostFacts(
        name=f"h{number}", address=f"10.0.0.{number}", root=True, hostname=f"core-{number}",
        architecture="x86_64", machine=f"{number:032x}", init="systemd", systemd=252, pythons=("3.11",),
        builds={"3.11": "x86_64-linux-gnu"}, python3="3.11", room_kb=ROOM,
    )  # fmt: skip


def goal(*members: str) -> JoinGoal:
    return JoinGoal("fleet", "1-a", "3.5.16", members, "operator", UNITS, "[Service]\n")


@pytest.mark.parametrize(("digest", "put"), [("good", False), ("earlier", True), (None, True)])
def test_a_host_without_the_present_key_for_secrets_is_given_it(digest: str | None, put: bool) -> None:
    there = {"/etc/fleet/secrets.key": digest} if digest else {}
    wanted = replace(goal(), secrets_keys=frozenset({"good", "both"}))
    steps_of = [
        step.act for stage in plan((replace(host(1), files=there),), FleetFacts(), wanted) for step in stage.steps
    ]
    assert any(isinstance(act, steps.PutSecretsKey) for act in steps_of) is put


def acts(hosts: tuple[HostFacts, ...], fleet: FleetFacts, wanted: JoinGoal) -> list[tuple[str, str]]:
    return [(step.host, type(step.act).__name__) for stage in plan(hosts, fleet, wanted) for step in stage.steps]


def member(number: int, *, name: str = "x", learner: bool = False) -> Member:
    address = f"10.0.0.{number}"
    return Member(number, name, (peer_url(address),), (client_url(address),), learner)


def test_one_member_starts_the_registry_and_users_are_on_before_another_is_added() -> None:
    hosts = (host(1), host(2), host(3))
    found = acts(hosts, FleetFacts(), goal("h1", "h2", "h3"))
    order = [each for each in found if each[1] in ("StartMember", "TurnUsersOn", "AddMember")]
    assert order == [("h1", "StartMember"), ("", "TurnUsersOn"), ("h2", "AddMember"), ("h3", "AddMember")]


def test_a_machine_has_its_password_and_its_files_before_its_agent_starts() -> None:
    found = [act for where, act in acts((host(1),), FleetFacts(), goal("h1")) if where == "h1"]
    begun = found.index("StartService")
    assert {"Unpack", "PutCertificates", "PutPassword", "PutFiles"} <= set(found[:begun])
    assert found[-1] == "AwaitMachine"


def test_a_registry_that_answers_is_never_started_anew() -> None:
    """A join that finds members adds to them, whatever is on the hosts that it was given."""
    found = acts((host(4),), FleetFacts(members=(member(1),), users_on=True), goal("h4"))
    assert ("h4", "AddMember") in found
    assert ("h4", "StartMember") not in found


@pytest.mark.parametrize("state", [{"name": ""}, {"learner": True}])
def test_a_member_that_was_only_announced_is_finished(state: dict[str, object]) -> None:
    known = replace(member(2), **state)  # type: ignore[arg-type]
    fleet = FleetFacts(members=(member(1), known), users_on=True, users=frozenset({"operator"}))
    assert ("h2", "AddMember") in acts((host(2),), fleet, goal("h2"))


def test_the_data_of_a_membership_that_ended_is_discarded() -> None:
    fleet = FleetFacts(members=(member(1),), users_on=True)
    stages = plan((replace(host(2), etcd_data=True),), fleet, goal("h2"))
    added = [step.act for stage in stages for step in stage.steps if isinstance(step.act, steps.AddMember)]
    assert [act.discard for act in added] == [True]


def test_a_user_without_its_file_and_a_file_without_its_user_are_made_again() -> None:
    name, path = f"agent-{1:032x}", "/etc/fleet/agent.password"
    for there, users in (({path: "x"}, frozenset[str]()), ({}, frozenset({name}))):
        found = plan((replace(host(1), files=there),), FleetFacts(users=users), goal())
        made = [each.act for stage in found for each in stage.steps if isinstance(each.act, steps.PutPassword)]
        assert "agent" in [act.role for act in made]


def test_metadata_that_is_not_given_again_stays() -> None:
    settled = replace(host(1), files={"/etc/fleet/fleet.toml": "x"})
    written = [
        file.path
        for stage in plan((settled,), FleetFacts(), goal())
        for step in stage.steps
        if isinstance(step.act, steps.PutFiles)
        for file in step.act.files
    ]
    assert "/etc/fleet/fleet.toml" not in written


def settled(number: int, **more: object) -> HostFacts:
    """A host on which everything is done."""
    names = (
        "ca.pem",
        "client.key",
        "fleet.toml",
        "scheduler.toml",
        "agent.password",
        "scheduler.password",
        "secrets.key",
    )
    files = {f"/etc/fleet/{name}": "x" for name in names}
    unit = UnitFacts("loaded", "active", "enabled")
    found = replace(
        host(number), current="1-a", complete=frozenset({"/opt/fleet/versions/1-a"}), files=files,
        units={"fleet-agentd.service": unit, "fleet-scheduler.service": unit},
        endpoints={f"/etc/fleet/{name}": frozenset({client_url("10.0.0.9")}) for name in names[2:4]},
    )  # fmt: skip
    stages = plan((found,), whole(number), replace(goal(), leaves=LEAVES))
    acts = [step.act for stage in stages for step in stage.steps]
    units = {file.path: file for act in acts if isinstance(act, steps.PutFiles) for file in act.files}
    digests = {path: hashlib.sha256(file.content).hexdigest() for path, file in units.items()}
    return replace(found, files=files | digests, **more)  # type: ignore[arg-type]


def whole(number: int) -> FleetFacts:
    users = frozenset({"operator", *(f"{role}-{number:032x}" for role in ("agent", "scheduler"))})
    return FleetFacts(
        authority=True, operator_leaf=True, root_password=True, operator_password=True, config=True,
        members=(member(9),), users_on=True, users=users, schedulers=3,
        machines={f"{number:032x}": f"core-{number}"},
    )  # fmt: skip


LEAVES = frozenset({("h1", "/etc/fleet/client.pem")})


def test_a_machine_on_which_everything_is_done_has_nothing_left() -> None:
    assert plan((settled(1),), whole(1), replace(goal(), leaves=LEAVES)) == ()


def test_a_registry_that_has_moved_is_told_to_a_machine_and_nothing_else_of_it_changes() -> None:
    told = {"/etc/fleet/fleet.toml": frozenset({"https://elsewhere:2379"})}
    stages = plan((settled(1, endpoints=told),), whole(1), replace(goal(), leaves=LEAVES))
    (stage,) = stages
    assert [type(step.act).__name__ for step in stage.steps] == ["SetEndpoints", "StartService"]
    assert stage.steps[1].act == steps.StartService("fleet-agentd.service", again=True)


def test_an_agent_that_is_older_than_its_configuration_is_started_again() -> None:
    """An interruption fell between the two."""
    stages = plan(
        (settled(1, stale=frozenset({"fleet-agentd.service"})),), whole(1), replace(goal(), leaves=LEAVES)
    )
    acts = [step.act for stage in stages for step in stage.steps]
    assert acts == [steps.StartService("fleet-agentd.service", again=True)]


def told(number: int) -> frozenset[str]:
    return frozenset({client_url(f"10.0.0.{number}")})


def test_other_machines_and_this_laptop_last_are_told_of_a_new_member() -> None:
    fleet = replace(whole(1), configured=told(9))
    others = (settled(2), settled(3, endpoints={"/etc/fleet/fleet.toml": told(9) | told(1)}))
    stages = plan((host(1),), fleet, goal("h1"), others)
    after = [(step.host, type(step.act).__name__) for stage in stages[-2:] for step in stage.steps]
    assert after == [
        ("h2", "SetEndpoints"), ("h2", "StartService"), ("h2", "StartService"), ("", "OwnEndpoints")
    ]  # fmt: skip
    assert [step.host for step in stages[-1].steps] == [""]


def test_a_list_of_endpoints_that_is_the_users_own_stays() -> None:
    ours = (client_url("10.0.0.9"), client_url("10.0.0.1"))
    assert own_list(replace(whole(1), configured=told(9)), ours) == ours
    assert own_list(replace(whole(1), configured=frozenset(ours)), ours) == ()
    assert own_list(replace(whole(1), configured=frozenset({"https://etcd.example:2379"})), ours) == ()
    assert facts.parse("h", "endpoints=/etc/fleet/fleet.toml [", 0, 0).unread == {"/etc/fleet/fleet.toml"}


def test_what_a_registry_bears_is_said() -> None:
    assert [tolerance(number).partition(", ")[2] for number in (2, 3, 4)] == [
        "none of which may be lost",
        "which bear the loss of 1, no more than 2 do",
        "which bear the loss of 1, no more than 3 do",
    ]


def test_a_member_that_was_taken_out_while_its_host_was_away_is_stopped() -> None:
    etcd = UnitFacts("loaded", "activating", "enabled")
    back = settled(1)
    found = plan(
        (replace(back, units={**back.units, "fleet-etcd.service": etcd}),), whole(1), replace(goal(), leaves=LEAVES)
    )
    assert [step.act for stage in found for step in stage.steps] == [steps.StopService("fleet-etcd.service")]


@pytest.mark.parametrize(
    ("asked", "listen"),
    [(Metrics.NETWORK, "10.0.0.1:9465"), (Metrics.LOOPBACK, "127.0.0.1:9465"), (Metrics.OFF, "")],
)
def test_metrics_are_served_where_they_are_asked_to_be(asked: Metrics, listen: str) -> None:
    path, wanted = "/etc/fleet/fleet.toml", replace(goal(), leaves=LEAVES, metrics=asked)
    done = plan((settled(1, metrics={path: "x"}),), whole(1), wanted)
    assert [step.act for stage in done for step in stage.steps] == [
        steps.SetMetrics((path,), listen),
        steps.StartService("fleet-agentd.service", again=True),
    ]
    assert plan((settled(1, metrics={path: listen}),), whole(1), wanted) == ()
    assert plan((settled(1, metrics={path: "x"}),), whole(1), replace(wanted, metrics=None)) == ()
    fresh = [file for stage in plan((host(1),), FleetFacts(), wanted) for step in stage.steps
             if isinstance(step.act, steps.PutFiles) for file in step.act.files if file.path == path]  # fmt: skip
    assert f'listen = "{listen}"'.encode() in fresh[0].content


def test_a_directory_for_units_outside_of_run_is_made_writable_and_the_agent_is_started_again() -> None:
    done = plan((settled(1, units_directory="/srv/fleet/units"),), whole(1), replace(goal(), leaves=LEAVES))
    (written, started) = [step.act for stage in done for step in stage.steps]
    assert isinstance(written, steps.PutFiles)
    assert b"\nReadWritePaths=-/srv/fleet\n" in written.files[0].content
    assert started == steps.StartService("fleet-agentd.service", again=True)
    for usual in ("", "/run/other/units"):
        assert plan((settled(1, units_directory=usual),), whole(1), replace(goal(), leaves=LEAVES)) == ()
    for odd in ("/units", "/srv/a b/c", '/srv/$(x)/"'):
        assert facts.parse("h", f"directory={odd}", 0, 0).units_directory == ""


@pytest.mark.parametrize(
    "line", ["room=/opt \u00b2", f"room=/opt {'9' * 5000}", f"endpoints=/etc/fleet/fleet.toml {'[' * 100_000}"]
)
def test_what_no_host_says_of_itself_is_left_out(line: str) -> None:
    found = facts.parse("h", f"hostname=h\n{line}\n", 0, 0)
    assert (found.hostname, found.room_kb, found.endpoints) == ("h", {}, {})


def test_etcd_is_fetched_by_a_hosts_own_apt_where_that_offers_it() -> None:
    wanted = replace(goal("h1"), packages={"h1": "3.5.16-4"})
    (step,) = [step for stage in plan((host(1),), FleetFacts(), wanted) for step in stage.steps
               if isinstance(step.act, steps.PutEtcd)]  # fmt: skip
    assert step.act == steps.PutEtcd("3.5.16", steps.EtcdSource.APT, "3.5.16-4")
    assert "fetch its apt's etcd-server 3.5.16-4" in step.does
    assert [of_package(each) for each in ("3.5.16-4", "1:3.5.30~rc1-2+b1", "(none)", "3.5.16-4; x", "")] == [
        "3.5.16", "3.5.30", "", "", ""
    ]  # fmt: skip


def test_schedulers_are_on_three_machines_and_no_more() -> None:
    hosts = tuple(host(number) for number in range(1, 6))
    made = [where for where, act in acts(hosts, FleetFacts(), goal("h1")) if act == "StartService"]
    assert sorted(where for where in set(made) if made.count(where) == 2) == ["h1", "h2", "h3"]
    full = FleetFacts(schedulers=3)
    assert acts((host(6),), full, goal()).count(("h6", "StartService")) == 1


COUNTS = [(1, 0, 0, 1), (2, 0, 0, 1), (3, 0, 0, 3), (5, 0, 5, 5), (1, 3, 0, 0), (1, 1, 0, 0), (3, 1, 0, 2)]


@pytest.mark.parametrize(("hosts", "have", "asked", "want"), COUNTS)
def test_three_hosts_hold_the_registry_and_a_fourth_does_not(hosts: int, have: int, asked: int, want: int) -> None:
    fleet = FleetFacts(members=tuple(member(90 + number) for number in range(have)))
    assert len(members_of(tuple(host(number) for number in range(1, hosts + 1)), fleet, asked)) == want


OURS, OTHERS = (f"-----BEGIN CERTIFICATE-----{each}-----END CERTIFICATE-----".encode() for each in ("ours", "no"))
RUNS = UnitFacts(active="active")
REFUSED = {
    "its process 1 is": {"init": "runit"},
    "its systemd is 247": {"systemd": 247},
    "its architecture is armv7l": {"architecture": "armv7l"},
    "its kernel is aarch64, and its Python is built for x86_64-linux-gnu": {
        "architecture": "aarch64",
        "builds": {"3.11": "x86_64-linux-gnu"},
    },
    "and its Python is built for i386-linux-gnu": {"builds": {"3.11": "i386-linux-gnu"}},
    "its C library": {"libc": "musl"},
    "its python3 is 3.9": {"pythons": (), "python3": "3.9"},
    "it has no Python": {"pythons": (), "python3": ""},
    "its clock is off by 60 s": {"clock_off_s": 60.0},
    "/opt has 0 MiB left": {"room_kb": ROOM | {"/opt": 100}},
    "port 2379": {"listens": frozenset({2379})},
    "is taken (etcd.service)": {
        "listens": frozenset({2380}),
        "units": {"etcd.service": RUNS},
    },
    "belongs to another fleet": {"pems": {"/etc/fleet/ca.pem": OTHERS}},
    "installed by hand": {"units": {"fleet-agentd.service": RUNS}},
    "machine id is that of machine core-9": {"machine": "f" * 32},
    "host name core-9 is": {"hostname": "core-9"},
    "do not run as root": {"root": False},
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_host_that_cannot_be_a_machine_is_told_why_and_what_to_do(what: str) -> None:
    odd = replace(host(1), **REFUSED[what])  # type: ignore[arg-type]
    against = objections(
        (odd, host(2)),
        members=("h1",),
        authority=OURS,
        machines={"f" * 32: "core-9"},
        etcd_architecture="",
    )
    assert any(what in each.what and each.remedy for each in against), against
    assert {each.host for each in against} == {"h1"}


def test_a_sound_host_is_not_refused_joined_or_not() -> None:
    """While an authority is replaced, hosts and laptop share one of two."""
    joined = replace(host(1), pems={"/etc/fleet/ca.pem": OURS + OTHERS}, units={"fleet-agentd.service": RUNS})
    for sound in (host(1), joined):
        assert not objections((sound,), members=("h1",), authority=OURS, machines={}, etcd_architecture="x86_64")


def test_clones_among_the_hosts_are_found() -> None:
    twins = (host(1), replace(host(2), machine=host(1).machine))
    against = objections(twins, members=(), authority=b"", machines={}, etcd_architecture="")
    assert {each.host for each in against} == {"h1", "h2"}


def test_what_a_host_says_is_read_by_a_grammar() -> None:
    text = "hostname=a b\x1b[31m\nmachine=zz\nconnection=1.2.3.4 5 10.0.0.9 22\nroom=/opt x\nlistens=0100:094B"
    read = facts.parse("h", text, 0, 0)
    assert (read.hostname, read.machine, read.address, read.room_kb) == ("", "", "10.0.0.9", {})
    assert read.listens == {2379}
    assert facts.parse("h", "", 0, 0).python == ""


@pytest.mark.parametrize(("now", "off"), [(1000, 0), (1060, 0), (999, 0), (1065, 5), (950, 49)])
def test_a_clock_is_judged_by_when_it_was_read_however_long_that_took(now: int, off: int) -> None:
    assert facts.parse("h", f"now={now}", 1000.5, 1060.0).clock_off_s == pytest.approx(off, abs=1)

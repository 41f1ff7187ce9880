"""What the doctor says of which facts: every judgement in its words, and how bad it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from fleettui.doctor import access, etcd, fleet, hosts, secrets
from fleettui.doctor.examine import JUDGEMENTS, examine
from fleettui.doctor.facts import (
    CertificateFacts,
    EndpointFacts,
    Examination,
    HostExamination,
    RightsFacts,
    SecretFile,
)
from fleettui.doctor.finding import Finding, Level, worst
from registry.etcd import Member
from registry.etcd.admin import Alarm, KeyRange
from registry.keys import Keys
from registry.mirror import Snapshot
from registry.model import (
    Assignment,
    ConfigVersion,
    Corrupt,
    Duplicate,
    Leader,
    Machine,
    Pending,
    Secret,
    Sentinel,
    Target,
    Unit,
    UnitState,
)
from registry.roles import Role, User, rights

KEYS, NOW, DAY = Keys(), 1_800_000_000.0, 86_400.0
Judge = Callable[[Examination], Iterator[Finding]]


def endpoint(number: int = 1, **changes: Any) -> EndpointFacts:
    known = EndpointFacts(
        f"http://m{number}:2379", version="3.5.16", member=number, leader=1, size_bytes=1 << 20, used_bytes=1 << 19,
        clock_ahead_s=0.3,
    )  # fmt: skip
    return replace(known, **changes)


def member(number: int = 1, **changes: Any) -> Member:
    known = Member(number, f"m{number}", (), (f"http://m{number}:2379",), learner=False)
    return replace(known, **changes)


def table(records: Mapping[Any, Any]) -> Mapping[Any, Any]:
    return MappingProxyType(dict(records))


def keyed(*keys: str) -> dict[str, Any]:
    """A registry with a secret, and machines that say this of their keys."""
    machines = {f"m{at}": Machine(f"m{at}", f"core-{at}", "h", "b", secrets_key=key) for at, key in enumerate(keys)}
    return {"snapshot": snapshot(machines=table(machines))}


def snapshot(**changes: Any) -> Snapshot:
    machine = Machine("aa", "core-1", "10.0.0.1", "boot", agent_version="1.0", secrets_key="a" * 64)
    secret = Secret("db", (ConfigVersion("0" * 64, 1),))
    line = Assignment("a.service", "aa", "0" * 64, Target.LAUNCHED, 1)
    state = UnitState("a.service", "aa", "0" * 64, 1, Target.LAUNCHED, "loaded", "active", "running")
    known = Snapshot(
        cluster=Sentinel("c1"), leader=Leader("s1", "core-1"), machines=table({"aa": machine}),
        secrets=table({"db": secret}),
        units=table({"a.service": Unit("a.service", "0" * 64, Target.LAUNCHED)}),
        schedule=table({("aa", "a.service"): line}), states=table({("aa", "a.service"): state}),
    )  # fmt: skip
    return replace(known, **changes)


def facts(**changes: Any) -> Examination:
    known = Examination(
        NOW, "1.0", KEYS, "ann", endpoints=tuple(map(endpoint, (1, 2, 3))), members=tuple(map(member, (1, 2, 3))),
        rights=held_by(User("ann", Role.OPERATOR)), snapshot=snapshot(),
    )  # fmt: skip
    return replace(known, **changes)


def held_by(user: User, without: str = "\0") -> RightsFacts:
    ranges = [KeyRange.of(each.access.value, each.key, prefix=each.prefix) for each in rights(user, KEYS)]
    kept = tuple(each for each in ranges if without not in each.key.decode())
    return RightsFacts(True, user.name, (user.etcd_role(KEYS),), kept)


def said(judge: Judge, found: Examination) -> list[str]:
    return [f"{each.level.word}: {each.text}" for each in judge(found)]


def test_a_fleet_that_is_well_is_fine_in_every_respect() -> None:
    host = HostExamination("aa", "core-1", agent="active", disks={"/": (9 << 30, 10 << 30)})
    client = CertificateFacts("client", "/c", NOW + 80 * DAY)
    found = examine(facts(files=(SecretFile("/p"),), certificates=(client,), hosts=(host,)))
    assert worst(found) is Level.OK
    assert not any(each.remedy for each in found)
    assert len(found) == len(JUDGEMENTS)


def test_whatever_is_wrong_has_a_remedy() -> None:
    for each in (finding for _, judge, changes, _ in CASES for finding in judge(facts(**changes))):
        assert bool(each.remedy) is (each.level is not Level.OK), each


def test_nothing_known_is_judged_without_an_error() -> None:
    assert examine(Examination(NOW, "1.0")) == []


GONE = endpoint(2, problem="connection refused", version="", member=0, leader=0, size_bytes=0, clock_ahead_s=None)
QUIET = tuple(replace(GONE, base=f"http://m{number}:2379") for number in (1, 2, 3))
OFF = {"cluster": Sentinel("c1", held="a backup was restored")}


def named(machines: Iterable[str]) -> Mapping[Any, Any]:
    return table(
        {
            (each, f"{each}.service"): Assignment(f"{each}.service", each, "", Target.LAUNCHED, 1)
            for each in machines
        }
    )


CASES: list[tuple[str, Judge, dict[str, Any], list[str]]] = [
    ("one endpoint silent", etcd.endpoints, {"endpoints": (endpoint(1), GONE, endpoint(3))},
     ["warning: http://m2:2379 does not answer: connection refused"]),
    ("all silent", etcd.endpoints, {"endpoints": QUIET},
     [f"broken: http://m{number}:2379 does not answer: connection refused" for number in (1, 2, 3)]
     + ["broken: no endpoint answers: nothing can be changed, and what runs goes on as it is"]),
    ("no leader of etcd", etcd.endpoints, {"endpoints": (endpoint(1, leader=0),)},
     ["broken: http://m1:2379 knows no leader of etcd: most members are away, and nothing can be written",
      "ok: 1 of 1 endpoints answer"]),
    ("members unknown", etcd.members, {"members": (), "members_problem": "denied"},
     ["warning: the members are not known: denied"]),
    ("one member", etcd.members, {"members": (member(1),), "endpoints": (endpoint(1),)},
     ["ok: 1 member, none of them may be lost: back it up"]),
    ("two members", etcd.members, {"members": (member(1), member(2))},
     ["warning: 2 members bear no more losses than 1"]),
    ("never started", etcd.members, {"members": (*map(member, (1, 2)), member(0xAB, name="", client_urls=()))},
     ["warning: member ab was announced and has never been started"]),
    ("dead, and none of ours", etcd.members,
     {"endpoints": (endpoint(1), endpoint(2), replace(QUIET[2], configured=False))},
     ["warning: member m3 (http://m3:2379) does not answer, and is none of our endpoints"]),
    ("alive, and none of ours", etcd.members, {"endpoints": (endpoint(1), endpoint(2))},
     ["warning: member m3 (http://m3:2379) is none of our endpoints: we could not turn to it"]),
    ("dead, and ours", etcd.members, {"endpoints": (endpoint(1), endpoint(2), QUIET[2])}, []),
    ("a learner", etcd.members, {"members": (member(1), member(2), member(3, learner=True))},
     ["warning: member m3 is a learner: it has no vote yet", "ok: 3 members, 1 may be lost"]),
    ("3.4", etcd.versions, {"endpoints": (endpoint(1, version="3.4.23"),)},
     ["warning: etcd 3.4.23: 3.4 has been at the end of its life since May 2026, and gets no fixes"]),
    ("early 3.5", etcd.versions, {"endpoints": (endpoint(1, version="3.5.1"),)},
     ["warning: etcd 3.5.1 is older than 3.5.16, and 3.5.0 to 3.5.2 can lose data"]),
    ("not tried", etcd.versions, {"endpoints": (endpoint(1, version="3.6.0"),)},
     ["warning: etcd 3.6.0 has not been tried with this version of fleet"]),
    ("mixed minors", etcd.versions, {"endpoints": (endpoint(1), endpoint(2, version="3.4.23"))},
     ["broken: etcd's members are of different versions: 3.5.16 at http://m1:2379, 3.4.23 at http://m2:2379",
      "warning: etcd 3.4.23: 3.4 has been at the end of its life since May 2026, and gets no fixes"]),
    ("no room", etcd.alarms, {"alarms": (Alarm(2, "NOSPACE"),)},
     ["broken: member m2 is out of room (NOSPACE): the registry takes no writes"]),
    ("corrupt", etcd.alarms, {"alarms": (Alarm(0xAB, "CORRUPT"),)},
     ["broken: member ab has raised CORRUPT: its data differs from the others'"]),
    ("nearly full", etcd.room, {"endpoints": (endpoint(1, size_bytes=1800 << 20),)},
     ["warning: the database at http://m1:2379 has 1800 MiB; at 2 GiB (unless set higher) writes end"]),
    ("loose", etcd.room, {"endpoints": (endpoint(1, size_bytes=900 << 20, used_bytes=90 << 20),)},
     ["warning: only 90.0 MiB of the 900 MiB that the database at http://m1:2379 takes are used",
      "ok: the database has 900 MiB of 2 GiB"]),
    ("one clock", etcd.clocks, {"endpoints": (endpoint(1), endpoint(2, clock_ahead_s=-90.2))},
     ["warning: the clock at http://m2:2379 is 90 s behind this host's"]),
    ("our clock", etcd.clocks, {"endpoints": (endpoint(1, clock_ahead_s=60.0), endpoint(2, clock_ahead_s=61.0))},
     ["warning: this host's clock is 60 s behind those of etcd's hosts"]),
    ("loose file", access.files, {"files": (SecretFile("/p", "its mode is 0644", "chmod"), SecretFile("/k"))},
     ["broken: its mode is 0644"]),
    ("certificates", access.certificates,
     {"certificates": (CertificateFacts("client", "/c", NOW + 3 * DAY),
                       CertificateFacts("authority", "/a", NOW - DAY)),
      "endpoints": (endpoint(1, certificate_ends=NOW + 20 * DAY),)},
     ["warning: the client certificate /c runs out in 3 days",
      "broken: the authority certificate /a ran out 24 hours ago",
      "ok: the certificate that http://m1:2379 shows lasts for 20 days"]),
    ("users off", access.user, {"rights": RightsFacts(users_on=False)},
     ["warning: etcd asks nobody who he is: whoever reaches its port may do anything on every machine"]),
    ("users unknown", access.user, {"rights": RightsFacts(problem="timed out")},
     ["warning: it is not known whether etcd asks for users: timed out"]),
    ("no user", access.user, {"rights": RightsFacts(users_on=True)},
     ["broken: etcd wants a user, and none is configured"]),
    ("refused", access.user, {"rights": RightsFacts(users_on=True, user="ann", problem="authentication failed")},
     ["broken: what ann may do is not known: authentication failed"]),
    ("root", access.user, {"rights": RightsFacts(True, "root", ("root",))},
     ["ok: root is etcd's root, and may do everything"]),
    ("viewer", access.user, {"rights": held_by(User("bob", Role.VIEWER))},
     ["ok: bob is a viewer: may read everything, and change nothing"]),
    ("lacking", access.user, {"rights": held_by(User("ann", Role.OPERATOR), without="units")},
     ["broken: ann is operator, and lacks write of /fleet/units/"]),
    ("a program's", access.user, {"rights": held_by(User("scheduler-1", Role.SCHEDULER))},
     ["warning: scheduler-1 is of the role scheduler, which is a program's"]),
    ("somebody else's", access.user,
     {"rights": RightsFacts(True, "eve", ("other",), (KeyRange.of("READWRITE", "/", prefix=True),))},
     ["warning: eve has no role of this fleet, and may read everything"]),
    ("nobody", access.user, {"rights": RightsFacts(True, "eve", (), (KeyRange.of("READ", "/fleet/cluster"),))},
     ["warning: eve has no role of this fleet, and may not read the whole registry"]),
    ("unread", fleet.registry, {"snapshot": None, "registry_problem": "denied"},
     ["broken: the registry cannot be read: denied"]),
    ("no fleet", fleet.registry, {"snapshot": Snapshot()}, ["broken: there is no fleet below /fleet/"]),
    ("damaged", fleet.registry, {"snapshot": snapshot(cluster=None)},
     ["broken: there is no fleet below /fleet/, yet there are records: it is damaged"]),
    ("newer", fleet.registry, {"snapshot": snapshot(cluster=Sentinel("c1", schema=99))},
     ["broken: it is of a newer schema than this program knows"]),
    ("held", fleet.registry, {"snapshot": snapshot(**OFF)},
     ["broken: its history went back, and everything is held as it is: a backup was restored"]),
    ("ahead", fleet.registry, {"snapshot": snapshot(cluster=Sentinel("c1", epoch=int(NOW * 2000)))},
     ["broken: its sentinel is broken: its epoch 3600000000000 is more than a day ahead of this host's clock"]),
    ("nobody leads", fleet.leader, {"snapshot": snapshot(leader=None)},
     ["broken: no scheduler leads: nothing is placed or moved"]),
    ("no machine", fleet.machines, {"snapshot": Snapshot(cluster=Sentinel("c1"))},
     ["broken: no machine is registered"]),
    ("lost", fleet.machines, {"snapshot": snapshot(schedule=named(["bb"]))},
     ["warning: machine bb is lost, with 1 unit scheduled there"]),
    ("many lost", fleet.machines, {"snapshot": snapshot(schedule=named([f"b{each}" for each in range(9)]))},
     [f"warning: machine b{each} is lost, with 1 unit scheduled there" for each in range(4)]
     + ["warning: 5 more machines lost"]),
    ("two with one id", fleet.machines,
     {"snapshot": snapshot(duplicates=table({("aa", "b2"): Duplicate("aa", "b2", "core-9", "10.0.0.9")}))},
     ["broken: core-9 (10.0.0.9) has the machine id aa, which is another machine's"]),
    ("agents hold", fleet.machines,
     {"snapshot": snapshot(machines=table({"aa": Machine("aa", "core-1", "10.0.0.1", "b", held="restored")}))},
     ["broken: the agents of core-1 hold everything as it is", "ok: 1 machine, none lost"]),
    ("versions", fleet.agents,
     {"snapshot": snapshot(machines=table({each: Machine(each, each, "h", "b", agent_version=version)
                                           for each, version in (("a", "1.0"), ("b", "1.1"))}))},
     ["warning: agents are of 2 versions: 1.0 on a; 1.1 on b"]),
    ("ours differs", fleet.agents, {"version": "2.0"},
     ["warning: the agents are of version 1.0, this program of 2.0"]),
    ("no key for secrets", secrets.secrets, keyed("none: cannot read k: no; run fleettui join", "a" * 64, ""),
     ["warning: core-0 opens no secret: cannot read k: no"]),
    ("another key for secrets", secrets.secrets,
     keyed("a" * 64, "b" * 64) | {"secrets_keys": frozenset({"a" * 64})},
     ["warning: core-1 opens no secret: it has another key than the fleet's"]),
    ("several keys for secrets", secrets.secrets, keyed("a" * 64, "b" * 64, "a" * 64),
     ["warning: machines have 2 different files of keys for secrets: core-0, core-2; core-1"]),
    ("corrupt records", fleet.records,
     {"snapshot": snapshot(corrupt=table({f"/k{each}": Corrupt(f"/k{each}", "not JSON") for each in range(6)}))},
     [f"warning: /k{each} does not parse: not JSON" for each in range(4)]
     + ["warning: 2 more records that cannot be parsed"]),
    ("events", fleet.records, {"events": 50_000},
     ["warning: there are 50,000 events, and a leader keeps 10,000: nobody collects them"]),
    ("waiting", fleet.backlog,
     {"snapshot": snapshot(pending=table({"m.service": Pending("m.service", "", 1, "no machine")}))},
     ["warning: 1 unit without a machine: m.service"]),
    ("failed", fleet.backlog,
     {"snapshot": snapshot(states=table(
         {("aa", "a.service"): UnitState("a.service", "aa", "", 1, active="failed")}))},
     ["warning: 1 unit failed: a.service"]),
    ("under way", fleet.backlog, {"snapshot": snapshot(states=table({}))},
     ["ok: 1 unit, none waits, none failed; 1 line of the schedule to be carried out yet"]),
    ("away", hosts.hosts, {"hosts": (HostExamination("aa", "core-1", "timed out"),)},
     ["warning: core-1 cannot be reached by SSH: timed out"]),
    ("ill", hosts.hosts,
     {"hosts": (HostExamination("aa", "core-1", "", 30.0, "inactive", {"/run": (1 << 20, 100 << 20)}),)},
     ["warning: the clock of core-1 is 30 s ahead of this host's", "broken: fleet-agentd on core-1 is inactive",
      "warning: /run on core-1 has 1 MiB free of 100 MiB"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("place", "cost"),
    [("/", "the journal and a member of the registry stop"), ("/run", "begins no start"),
     ("/var/log/journal", "--vacuum-size"), ("/var/lib/private/fleet-etcd", "this member of the registry stops")],
)  # fmt: skip
def test_a_full_disk_is_told_with_what_it_costs(place: str, cost: str) -> None:
    host = HostExamination("aa", "core-1", agent="active", disks={place: (0, 100 << 20)})
    (found,) = hosts.hosts(facts(hosts=(host,)))
    assert cost in found.remedy


@pytest.mark.parametrize(
    ("judge", "changes", "words"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_what_is_said(judge: Judge, changes: dict[str, Any], words: list[str]) -> None:
    assert said(judge, facts(**changes)) == words


def test_a_certificate_that_runs_out_within_14_days_is_told_in_a_few_words() -> None:
    assert access.running_out([], NOW) == ""
    assert access.running_out([("client", NOW + 15 * DAY)], NOW) == ""
    ends = [("client", NOW + 3 * DAY), ("authority", NOW + 9 * DAY)]
    assert access.running_out(ends, NOW) == "the client certificate runs out in 3 days: fleetctl doctor"
    assert access.running_out([("client", NOW - 1)], NOW) == "the client certificate has run out: fleetctl doctor"

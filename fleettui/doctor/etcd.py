"""What is wrong with etcd itself: endpoints, members, versions, alarms, room, clocks. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fleettui.doctor.facts import Examination
from fleettui.doctor.finding import Finding, broken, ok, warning
from registry.etcd import Member
from registry.wording import counted, listed

QUOTA_BYTES = 2 << 30  # etcd's own, unless --quota-backend-bytes says otherwise
FULL = 0.75  # of the quota, from which on it is told
LOOSE = (256 << 20, 0.5)  # a database from this size on, of which less than this part is used
SKEW_S = 5.0  # HTTP tells whole seconds
TESTED = ((3, 4), (3, 5))
LEAST = (3, 5, 16)  # what `join` installs at least
SHOWN = 4


def endpoints(facts: Examination) -> Iterator[Finding]:
    """Whether each endpoint answers, and knows a leader."""
    ours = [each for each in facts.endpoints if each.configured]
    silent = [each for each in ours if each.problem]
    remedy = "start etcd there, or mend [etcd] endpoints"
    for each in silent:
        text = f"{each.base} does not answer: {each.problem}"
        yield warning("endpoint", text, remedy) if facts.answering else broken("endpoint", text, remedy)
    if silent and not facts.answering:
        text = "no endpoint answers: nothing can be changed, and what runs goes on as it is"
        yield broken("registry", text, "bring a majority of etcd's members back; then run this again")
    for each in facts.answering:
        if not each.leader:
            text = f"{each.base} knows no leader of etcd: most members are away, and nothing can be written"
            yield broken("endpoint", text, "bring a majority of etcd's members back")
    if ours and not silent:
        yield ok("endpoint", f"{len(ours)} of {len(ours)} endpoints answer")


def members(facts: Examination) -> Iterator[Finding]:
    """Whether every member of etcd is there, and whether losing one can be borne."""
    if facts.members_problem:
        yield warning("member", f"the members are not known: {facts.members_problem}", "mend the rest first")
    if not facts.members:
        return
    found = {each.member for each in facts.endpoints if not each.problem}
    missing = [each for each in facts.members if each.id not in found]
    yield from _missing(facts, missing)
    for each in facts.members:
        if each.learner:
            text = f"member {each.name} is a learner: it has no vote yet"
            yield warning("member", text, f"etcdctl member promote {each.id:x}")
    count = len(facts.members)
    if count % 2 == 0:
        text = f"{count} members bear no more losses than {count - 1}"
        yield warning("member", text, "add one, or take one out")
    elif not missing:
        bears = "none of them may be lost: back it up" if count == 1 else f"{count // 2} may be lost"
        yield ok("member", f"{counted(count, 'member')}, {bears}")


def _missing(facts: Examination, missing: list[Member]) -> Iterator[Finding]:
    """Say what is known of members that none of the answers came from."""
    silent = sum(bool(each.problem) for each in facts.endpoints if each.configured)
    for each in missing:
        name, urls = each.name or f"{each.id:x}", listed(each.client_urls, 2) or "no address"
        tried = [one for one in facts.endpoints if not one.configured and one.base in each.client_urls]
        if not each.name:
            text = f"member {name} was announced and has never been started"
            yield warning("member", text, f"start it, or take it out: etcdctl member remove {each.id:x}")
        elif any(one.problem for one in tried):
            text = f"member {name} ({urls}) does not answer, and is none of our endpoints"
            yield warning("member", text, f"start etcd there, or take it out: etcdctl member remove {each.id:x}")
        elif len(missing) > silent:
            text = f"member {name} ({urls}) is none of our endpoints: we could not turn to it"
            yield warning("member", text, "add it to [etcd] endpoints")


def versions(facts: Examination) -> Iterator[Finding]:
    """Whether etcd's version is one that is kept up and tried, and the same everywhere."""
    found = {each.base: each.version for each in facts.endpoints if not each.problem}
    minors = sorted({numbers[:2] for each in found.values() if (numbers := _numbers(each))})
    if len(minors) > 1:
        told = listed((f"{version} at {base}" for base, version in sorted(found.items())), SHOWN)
        remedy = (
            "bring all members to one version: a 3.4 member beside a 3.5 one lets users in with an empty password"
        )
        yield broken("version", f"etcd's members are of different versions: {told}", remedy)
    for version in sorted(set(found.values())):
        numbers = _numbers(version)
        if numbers[:2] == (3, 4):
            text = f"etcd {version}: 3.4 has been at the end of its life since May 2026, and gets no fixes"
            yield warning("version", text, "move to etcd 3.5.16 or newer, one member after the other")
        elif numbers[:2] not in TESTED:
            text = f"etcd {version} has not been tried with this version of fleet"
            yield warning("version", text, "use etcd 3.5, or tell us how it went")
        elif numbers < LEAST:
            text = f"etcd {version} is older than 3.5.16, and 3.5.0 to 3.5.2 can lose data"
            yield warning("version", text, "upgrade etcd, one member after the other")
        elif len(minors) == 1:
            yield ok("version", f"etcd {version}")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(each) for each in re.findall(r"\d+", version)[:3])


def alarms(facts: Examination) -> Iterator[Finding]:
    """Alarms that etcd has raised."""
    names = {each.id: each.name for each in facts.members}
    for each in facts.alarms:
        who = names.get(each.member) or f"{each.member:x}"
        if each.kind == "NOSPACE":
            text = f"member {who} is out of room (NOSPACE): the registry takes no writes"
            remedy = "etcdctl compact REVISION, etcdctl defrag on each member, then etcdctl alarm disarm"
        else:
            text = f"member {who} has raised {each.kind}: its data differs from the others'"
            remedy = (
                f"take it out, empty its data directory and add it again: etcdctl member remove {each.member:x}"
            )
        yield broken("alarm", text, remedy)
    if facts.members and not facts.alarms:
        yield ok("alarm", "no alarm is raised")


def room(facts: Examination) -> Iterator[Finding]:
    """How full each member's database is."""
    answering = [each for each in facts.endpoints if not each.problem and each.size_bytes]
    for each in answering:
        if each.size_bytes > FULL * QUOTA_BYTES:
            text = (
                f"the database at {each.base} has {_mib(each.size_bytes)}; at 2 GiB (unless set higher) writes end"
            )
            yield warning("disk", text, "etcdctl compact REVISION, then etcdctl defrag on each member")
        elif each.size_bytes > LOOSE[0] and 0 < each.used_bytes < LOOSE[1] * each.size_bytes:
            used = f"{_mib(each.used_bytes)} of the {_mib(each.size_bytes)}"
            text = f"only {used} that the database at {each.base} takes are used"
            yield warning("disk", text, f"etcdctl --endpoints={each.base} defrag")
    if answering:
        most = max(answering, key=lambda each: each.size_bytes)
        if most.size_bytes <= FULL * QUOTA_BYTES:
            yield ok("disk", f"the database has {_mib(most.size_bytes)} of 2 GiB")


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 20):.1f} MiB" if size_bytes < 100 << 20 else f"{size_bytes >> 20} MiB"


def clocks(facts: Examination) -> Iterator[Finding]:
    """Whether the clocks of etcd's hosts and ours agree, as far as HTTP tells."""
    told = [each for each in facts.endpoints if each.clock_ahead_s is not None]
    off = [each for each in told if abs(each.clock_ahead_s or 0.0) > SKEW_S]
    ahead = [each.clock_ahead_s or 0.0 for each in told]
    if len(told) > 1 and len(off) == len(told) and max(ahead) - min(ahead) <= SKEW_S:  # they agree with one another
        text = f"this host's clock is {_apart(-ahead[0])} those of etcd's hosts"
        yield warning("clock", text, "set it: timedatectl set-ntp true")
        return
    for each in off:
        text = f"the clock at {each.base} is {_apart(each.clock_ahead_s or 0.0)} this host's"
        remedy = "set the wrong one of the two (timedatectl set-ntp true): certificates and logs go by it"
        yield warning("clock", text, remedy)
    if told and not off:
        yield ok("clock", "the clocks of etcd's hosts and this one agree")


def _apart(ahead_s: float) -> str:
    return f"{abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'}"

"""What is wrong with how we get in: secrets that others may read, certificates that run out, rights. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fleettui.doctor.facts import Examination, RightsFacts
from fleettui.doctor.finding import Finding, broken, ok, warning
from registry.etcd.admin import ROOT, KeyRange
from registry.keys import Keys
from registry.roles import Role, User, rights, user_of
from registry.wording import listed

DAY_S = 86_400.0
SOON_S = 14 * DAY_S
SHOWN = 4


def files(facts: Examination) -> Iterator[Finding]:
    """Whether what lets us in can be used, and is nobody else's."""
    bad = [each for each in facts.files if each.problem]
    for each in bad:
        yield broken("file", each.problem, each.remedy)
    if facts.files and not bad:
        yield ok("file", f"{listed((each.path for each in facts.files), SHOWN)}: nobody else's")


def certificates(facts: Examination) -> Iterator[Finding]:
    """How long the certificates last that we use, and those that etcd shows."""
    for each in facts.certificates:
        how = (
            "fleetctl access rotate"
            if each.name == "client"
            else "make another authority and issue every leaf again"
        )
        yield _lasting(f"the {each.name} certificate {each.path}", each.ends, facts.now, how)
    for one in facts.endpoints:
        if one.certificate_ends:
            how = "issue another one on that host; etcd takes it up without a restart"
            yield _lasting(f"the certificate that {one.base} shows", one.certificate_ends, facts.now, how)


def _lasting(what: str, ends: float, now: float, remedy: str) -> Finding:
    days = (ends - now) / DAY_S
    if days <= 0:
        return broken("certificate", f"{what} ran out {_days(-days)} ago", remedy)
    if ends - now < SOON_S:
        return warning("certificate", f"{what} runs out in {_days(days)}", remedy)
    return ok("certificate", f"{what} lasts for {_days(days)}")


def _days(days: float) -> str:
    return f"{days * 24:.0f} hours" if days < 2 else f"{days:.0f} days"


def running_out(ends: Iterable[tuple[str, float]], now: float) -> str:
    """The certificate that runs out first, in a few words, if that is within 14 days; "" otherwise."""
    name, at = min(ends, key=lambda each: each[1], default=("", now + SOON_S))
    if at - now >= SOON_S:
        return ""
    days = (at - now) / DAY_S
    return f"the {name} certificate {f'runs out in {_days(days)}' if days > 0 else 'has run out'}: fleetctl doctor"


def user(facts: Examination) -> Iterator[Finding]:
    """Whether etcd asks for users, who we are to it, and what we lack of our role."""
    found = facts.rights
    if found.users_on is None:
        if found.problem:
            yield warning(
                "user", f"it is not known whether etcd asks for users: {found.problem}", "mend the rest first"
            )
        return
    if not found.users_on:
        text = "etcd asks nobody who he is: whoever reaches its port may do anything on every machine"
        yield warning("user", text, "turn users on: fleettui join makes a fleet with users and certificates")
        return
    who = found.user
    if not who:
        yield broken(
            "user", "etcd wants a user, and none is configured", "set etcd.username and etcd.password_file"
        )
        return
    if found.problem:
        yield broken("user", f"what {who} may do is not known: {found.problem}", f"fleetctl access rotate {who}")
        return
    yield _role(found, facts.keys)


def _role(found: RightsFacts, keys: Keys) -> Finding:
    """Say who we are to the fleet, and what of that role's rights we do not have."""
    who = found.user
    if ROOT in (who, *found.roles):
        return ok("user", f"{who} is etcd's root, and may do everything")
    users = [each for role in found.roles if (each := user_of(role, keys))]
    if not users:
        everything = KeyRange.of("READ", keys.prefix, prefix=True)
        reads = any(_holds(held, everything) for held in found.ranges)
        may = "may read everything" if reads else "may not read the whole registry"
        text = f"{who} has no role of this fleet, and {may}"
        return warning("user", text, f"fleetctl access grant {who} operator")
    role = users[0].role
    if lacking := _lacking(users[0], found.ranges, keys):
        text = f"{who} is {role}, and lacks {listed(lacking, SHOWN)}"
        return broken("user", text, f"fleetctl access grant {who} {role}, by etcd's root")
    if role is Role.OPERATOR:
        return ok("user", f"{who} is an operator: may read everything and change what operators change")
    if role is Role.VIEWER:
        return ok("user", f"{who} is a viewer: may read everything, and change nothing")
    text = f"{who} is of the role {role}, which is a program's"
    return warning("user", text, "use a user of your own: fleetctl access grant NAME operator")


def _lacking(found: User, ranges: tuple[KeyRange, ...], keys: Keys) -> list[str]:
    wanted = [KeyRange.of(each.access.value, each.key, prefix=each.prefix) for each in rights(found, keys)]
    missing = [each for each in wanted if not any(_holds(held, each) for held in ranges)]
    return [f"{each.access.lower()} of {each.key.decode('utf-8', 'replace')}" for each in missing]


def _holds(held: KeyRange, wanted: KeyRange) -> bool:
    """Whether a range allows all of another one; an end of one NUL is the end of all keys."""
    allows = held.access in (wanted.access, "READWRITE")
    if not held.end:
        return allows and not wanted.end and held.key == wanted.key
    reaches = held.end == b"\0" or (wanted.end or wanted.key + b"\0") <= held.end
    return allows and held.key <= wanted.key and reaches

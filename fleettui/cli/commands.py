"""Every verb of `fleetctl`: what runs it, its flags and their help. Reads no command line.

Each verb's function is named as `module:function` and imported when it runs, so that `fleetctl version` does not
pay for what `fleetctl journal` needs.
"""

from __future__ import annotations

import fleettui.cli.plain_argparse  # noqa: F401 - first: it imports the next one without what it brings along

# isort: split
import argparse
from collections.abc import Callable

from fleettui.cli import fields
from fleettui.cli.failures import POLICY
from registry.frozen import dataclass

Flags = Callable[[argparse.ArgumentParser], None]

LOOPED = frozenset(
    (
        "access",
        "backup",
        "completion",
        "configs",
        "doctor",
        "hosts",
        "journal",
        "push",
        "reboot",
        "restore",
        "upgrade",
    )
)
"""The modules of commands that need an event loop: for SSH, for programs, or beside files."""


SHOWING = frozenset(
    (
        "backup",
        "cat",
        "completion",
        "__complete",
        "diff",
        "doctor",
        "events",
        "help",
        "history",
        "journal",
        "list-machines",
        "list-unit-files",
        "list-units",
        "plan",
        "ssh",
        "status",
        "verify",
        "version",
        "why",
    )
)
"""The commands whose output is all that they are for. They change nothing in the fleet."""


@dataclass(frozen=True, slots=True)
class Command:
    """A verb: what runs it, its one-line summary, examples, and what adds its flags."""

    name: str
    run: str  # module:function below fleettui.cli
    summary: str
    examples: tuple[str, ...]
    flags: tuple[Flags, ...] = ()
    notes: str = ""  # what else its help says

    @property
    def runs_alone(self) -> bool:
        """Whether it needs no event loop: it asks, writes and follows the registry, and nothing else."""
        return self.run.partition(":")[0] not in LOOPED

    @property
    def changes(self) -> bool:
        """Whether it may change something in the fleet, or on a machine."""
        return self.name not in SHOWING

    def takes(self, kind: str) -> bool:
        """Whether it takes names of this kind: UNIT, FILE, MACHINE."""
        return any(isinstance(each, Names) and kind in each.kinds.split("|") for each in self.flags)


@dataclass(frozen=True, slots=True)
class Names:
    """Names of what the verb is about; `kinds`: some of UNIT, FILE and MACHINE, as the help writes them."""

    kinds: str

    def __call__(self, parser: argparse.ArgumentParser) -> None:
        """Add them to the parser."""
        parser.add_argument("names", nargs="+", metavar=self.kinds)


@dataclass(frozen=True, slots=True)
class Listed:
    """The flags of a list, which has these fields."""

    of: fields.ListFields

    def __call__(self, parser: argparse.ArgumentParser) -> None:
        """Add them to the parser."""
        parser.add_argument("-l", "--full", action="store_true", help="do not cut ids and hashes")
        parser.add_argument("--no-legend", action="store_true", help="leave the headings out")
        parser.add_argument("--fields", metavar="F,…", help="the columns to show; see the last lines of this help")
        _json(parser)


def _count(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = -1
    if number < 0:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, not {text!r}")
    return number


def _one_or_more(text: str) -> int:
    number = _count(text)
    if not number:
        raise argparse.ArgumentTypeError("expected a whole number from 1, not '0'")
    return number


def _blocking(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--no-block", action="store_true", help="return once the registry knows what is wanted")
    parser.add_argument(
        "--block-attempts",
        type=int,
        metavar="N",
        help="give up after N half seconds; 0 waits for ever, below 0 is --no-block (fleet's flag; see --timeout)",
    )
    parser.add_argument("--timeout", metavar="DURATION", help="give up waiting after this long, such as 30s or 2m")


def _replace(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--replace", action="store_true", help="store a text that differs from the registry's; running units follow"
    )


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, ids in full")


def _no_block(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--no-block", action="store_true", help="do not wait until the units have moved")
    parser.add_argument("--timeout", metavar="DURATION", help="give up waiting after this long, such as 30s or 2m")


def _journal(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-n", "--lines", type=_count, default=10, metavar="N", help="newest lines to show (10)")
    parser.add_argument("-f", "--follow", action="store_true", help="show new lines as they come")
    parser.add_argument("-o", "--output", default="short", metavar="FORMAT", help="journalctl's format (short)")
    parser.add_argument("--since", metavar="TIME", help='only lines from then on, as in journalctl: "1 hour ago"')
    parser.add_argument("--sudo", action="store_true", help="read the journal as root, by sudo")


def _ssh(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--machine", metavar="MACHINE", help="the machine's id, a beginning of it, or its host name"
    )
    parser.add_argument("--unit", metavar="UNIT", help="the machine that runs this unit")
    parser.add_argument("--forget-key", metavar="MACHINE", help="forget the host key that was pinned for a machine")
    parser.add_argument("-A", "--forward-agent", action="store_true", help="forward the local ssh-agent")
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="[MACHINE|UNIT] [COMMAND …]")


def _events(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-n", "--lines", type=_count, default=50, metavar="N", help="newest events to show (50)")
    parser.add_argument("-f", "--follow", action="store_true", help="show new events as they come")
    parser.add_argument("--unit", metavar="UNIT", help="only this unit's (a glob is fine)")
    parser.add_argument("--machine", metavar="MACHINE", help="only this machine's")
    parser.add_argument("--no-legend", action="store_true", help="leave the headings out")
    _json(parser)


def _backup(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="where to; - is standard output")
    parser.add_argument(
        "--rebuild", metavar="CLUSTER", help="of what machines run, for an empty registry; see below"
    )
    parser.add_argument("--machines", type=_count, default=0, metavar="N", help="with --rebuild: wait for so many")
    parser.add_argument("--sudo", action="store_true", help="with --rebuild: read unit files as root, by sudo")


def _restore(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", metavar="FILE", help="a backup, from fleetctl backup")
    parser.add_argument("--accept", action="store_true", help="do it, once that is confirmed")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--force", action="store_true", help="even if machines have not said what runs there")


def _doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ssh", action="store_true", help="look at every machine as well, over SSH")
    _json(parser)


def _policy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--at-a-time", default="1", metavar="N|N%", help="how many may be down at once (1)")
    _health(parser)
    parser.add_argument("--no-block", action="store_true", help="return once the rollout has begun")


def _gently(parser: argparse.ArgumentParser) -> None:
    told = "do it as a rollout: so many at a time, the next once those before are well"
    parser.add_argument("--at-a-time", metavar="N|N%", help=told)
    _health(parser)


def _reboot(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--at-a-time", type=_one_or_more, default=1, metavar="N", help="machines at once (1)")
    parser.add_argument("--needed", action="store_true", help="only those that say that they need it")
    _health(parser)
    parser.add_argument("--timeout", metavar="DURATION", help="give a machine up that is not back so soon (10m)")


def _push(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("machines", nargs="*", metavar="MACHINE", help="only these machines")


def _apply(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR")
    _dry_run(parser)
    parser.add_argument("--prune", action="store_true", help="destroy what this owner has and the folder lacks")
    parser.add_argument("--adopt", action="store_true", help="take over what others own or changed by hand")
    parser.add_argument("--at-a-time", metavar="N|N%", help="give running units their new file by a rollout")
    _health(parser)
    _no_block(parser)
    _json(parser)


def _dry_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dry-run", action="store_true", help="only show it; exit with 2 if something would change"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")


def _show_only(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="only show it; exit with 2 if a unit would move")


def _health(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", metavar="NAME", help="what to call the rollout")
    canary = "how many settle before all others have their turn (0)"
    parser.add_argument("--canary", type=_count, metavar="N", help=canary)
    healthy = "how long a unit must be well to have settled (10s)"
    parser.add_argument("--healthy-for", metavar="DURATION", help=healthy)
    failures = "how many may fail before it stops (0)"
    parser.add_argument("--max-failures", type=_count, metavar="N", help=failures)
    more = "what it does when more fail (pause)"
    parser.add_argument("--on-failure", choices=("pause", "rollback"), help=more)
    parser.set_defaults(**POLICY)


def _rollout(parser: argparse.ArgumentParser) -> None:
    acts = "UNIT… | list | " + " | ".join(
        f"{act} ROLLOUT" for act in ("status", "pause", "resume", "abort", "undo", "redo")
    )
    parser.add_argument("names", nargs="*", metavar=acts)
    parser.add_argument("--file", metavar="FILE", help="the file that the units are to have; without, they restart")
    _policy(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="status: show what happens until it is over")
    _json(parser)


def _unit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("unit", metavar="UNIT")


def _version(parser: argparse.ArgumentParser) -> None:
    _unit(parser)
    parser.add_argument(
        "version_hash", nargs="?", metavar="VERSION", help="the beginning of its hash (the one before)"
    )


def _scale(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("unit", metavar="TEMPLATE")
    parser.add_argument("count", type=_count, metavar="N")
    _dry_run(parser)
    _no_block(parser)


def _plan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--without", action="append", default=[], metavar="MACHINE", help="as if this one were lost; repeats add"
    )
    _json(parser)


def _rebalance(parser: argparse.ArgumentParser) -> None:
    _dry_run(parser)
    _policy(parser)
    parser.set_defaults(at_a_time=None)  # the console offers what was chosen last
    _json(parser)


def _config(parser: argparse.ArgumentParser) -> None:
    acts = (
        "set NAME KEY=VALUE… | unset NAME KEY… | list | show NAME [PATH] | history NAME | rollback NAME"
        " | destroy NAME…"
    )
    parser.add_argument("words", nargs="*", metavar=acts)
    file = "set: a file, a folder of files, or NAME=FILE; repeats add"
    parser.add_argument("--file", action="append", default=[], metavar="FILE", help=file)
    _version_of(parser, "show, rollback")
    _json(parser)


def _secret(parser: argparse.ArgumentParser) -> None:
    acts = "set NAME | list | history NAME | rollback NAME | destroy NAME…"
    parser.add_argument("words", nargs="*", metavar=acts)
    _version_of(parser, "rollback")
    _json(parser)


def _version_of(parser: argparse.ArgumentParser, acts: str) -> None:
    told = f"{acts}: the version, by its number (the newest; to roll back, the one before)"
    parser.add_argument("--at", metavar="N", help=told)


def _access(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="*", metavar="list | grant USER ROLE | revoke USER | rotate [USER] | check")
    parser.add_argument("--renew", action="store_true", help="grant: give a user who exists another password, too")
    parser.add_argument("--authority", action="store_true", help="rotate: also the authority itself")
    parser.add_argument("--secrets", action="store_true", help="rotate: the key that secrets are sealed for, alone")
    parser.add_argument(
        "--without", action="append", default=[], metavar="MACHINE", help="rotate: leave this one out; repeats add"
    )
    parser.add_argument("--yes", action="store_true", help="revoke, rotate: do not ask")
    parser.add_argument("--root-password-file", metavar="FILE", help="holds the password of etcd's root")
    _json(parser)


def _upgrade(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", metavar="FILE", help="a wheel of fleettui, instead of the version that runs here")
    parser.add_argument("--rollback", action="store_true", help="back to the version before")
    parser.add_argument("--dry-run", action="store_true", help="show every step, do none")


def _shell(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))


def _words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs=argparse.REMAINDER)


def _topic(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("topic", nargs="?", metavar="COMMAND")


UNITS = Names("UNIT")
FILES = Names("UNIT|FILE")
MACHINES = Names("MACHINE")

STRICT = "--strict-host-key-checking"
GLOBALS = (  # flag, what it takes ("": nothing), meaning
    ("--endpoint", "URL,…", "etcd's endpoints (FLEETCTL_ENDPOINT)"),
    ("--prefix", "PREFIX", "the registry's keys lie below it (FLEETCTL_PREFIX)"),
    ("--ca-file", "FILE", "the authority that signed etcd's certificate (FLEETCTL_CA_FILE)"),
    ("--cert-file", "FILE", "the client certificate for etcd (FLEETCTL_CERT_FILE)"),
    ("--key-file", "FILE", "its key (FLEETCTL_KEY_FILE)"),
    ("--request-timeout", "DURATION", "longest wait for one answer of etcd (FLEETCTL_REQUEST_TIMEOUT)"),
    ("--tunnel", "HOST[:PORT]", "reach etcd and the machines by SSH through this host (FLEETCTL_TUNNEL)"),
    ("--ssh-username", "USER", "user on the machines (FLEETCTL_SSH_USERNAME)"),
    ("--ssh-timeout", "DURATION", "longest wait for an SSH connection (FLEETCTL_SSH_TIMEOUT)"),
    ("--known-hosts-file", "FILE", "host keys to trust (FLEETCTL_KNOWN_HOSTS_FILE)"),
    (STRICT, "BOOL", "refuse machines with unknown keys (FLEETCTL_STRICT_HOST_KEY_CHECKING)"),
    ("--config", "FILE", "the configuration file (FLEET_CONFIG)"),
    ("--debug", "", "tell more about what goes on and wrong, on stderr (FLEETCTL_DEBUG)"),
)

BACKING_UP = """
What belongs to programs that live (machines, states) is in no backup.

--rebuild is for a registry that is lost with every backup of it: the empty
registry is told that it is CLUSTER (every machine names it in: systemctl status
fleet-agentd) and that everything is held, machines come back and say what they
run, and the unit files are read from them over SSH. Then: fleetctl restore FILE"""

RESTORING = """
With FILE: shows what would start, stop, restart and move if the registry were
as the backup says, asks, writes the backup and goes by it. Without a terminal
it only shows; --accept --yes does it unasked. Interrupted, it goes on when it
is run again, and everything is held until then.

Without FILE: the registry itself was put back (a snapshot of etcd, say), and
every machine holds what it runs. Shows what going by it would change; with
--accept asks, and does it.

Until then nothing is started, stopped or moved."""

REBOOTING = """
Units leave a machine one at a time, each once the one before it is well
elsewhere. What no other machine takes goes down with it; the next machine comes
when that is up again. Interrupted, say the same again: it goes on where it was.
A machine needs a reboot when /run/reboot-required is there, or when
needs-restarting -r says so."""

REBALANCING = """Better is, in this order: instances spread more evenly (SpreadOver), preferred metadata, and
machines with more equal numbers of units. Each unit is stopped and started once. It is a
rollout: see fleetctl help rollout. What is global or Sticky, follows others (MachineOf) or
is followed, and what replaces others is never moved. --dry-run exits with 2 if units would move."""

APPLYING = """A file fleet-apply.toml in the folder may say whose it is, and more of its units:
  owner = "web-team"                 (else the folder's name)
  [units."web@.service"]
  instances = 3                      (or a list of names)
  target = "launched"                (or loaded, inactive)
  [config.web]                       (variables; files lie in the folder config/web)
  PORT = "8080"
Units and configs of others, and what somebody changed by hand, are shown and kept; then it exits
with 1. A config that changes restarts nobody: with --at-a-time the units of the folder get it by a
rollout, else they keep the version that they have. Secrets never lie in the folder."""

CONFIGURING = """A unit whose file says Config=web in [X-Fleet] has the files below /run/fleet/config/web, and the
variables are set for it. A change restarts nobody, and no restart takes it up: units get it by
  fleetctl rollout UNIT
which gives them the newest versions, a few at a time. Ten versions are kept, and those in use."""

SEALING = """set reads the secret from standard input, as it is; on a terminal it asks for it. Nothing
shows it again. A unit whose file says Secret=db in [X-Fleet] finds it in the file
$CREDENTIALS_DIRECTORY/db. A change restarts nobody; as for configs, fleetctl rollout UNIT gives
units the newest versions."""

COMMANDS = (
    Command("submit", "units:introduce", "store unit files in the registry, on no machine yet",
            ("submit hello.service", "submit --replace ./units/*.service"), (FILES, _replace, _blocking)),
    Command("load", "units:introduce", "place units on machines and load them there, without starting",
            ("load hello.service", "load web@1 web@2"), (FILES, _replace, _blocking)),
    Command("start", "units:introduce", "start units, storing and placing them first where needed",
            ("start hello.service", "start --replace web@{1..100}", "start --no-block 'web@*'"),
            (FILES, _replace, _blocking, _gently)),
    Command("stop", "units:change", "stop units; they stay loaded on their machines",
            ("stop hello.service", "stop 'web@*'"), (UNITS, _blocking)),
    Command("unload", "units:change", "stop units and take them off their machines",
            ("unload hello.service",), (UNITS, _blocking)),
    Command("destroy", "units:change", "stop units and forget them; returns when their processes are gone",
            ("destroy hello.service", "destroy 'web@*'"), (UNITS, _blocking)),
    Command("restart", "units:change", "stop and start units on their machines",
            ("restart hello.service", "restart 'web@*' --at-a-time 25%"), (UNITS, _blocking, _gently)),
    Command("rollout", "rollouts:rollout", "give running units another file, or restart them, a few at a time",
            ("rollout 'web@*' --file web@.service --at-a-time 25% --canary 1", "rollout 'web@*' --healthy-for 30s",
             "rollout list", "rollout status web-20261126-211500", "rollout pause web-20261126-211500",
             "rollout undo web-20261126-211500", "rollout redo web-20261126-211500"),
            (_rollout,),
            "A rollout goes on without this command, which only shows it; pause, abort and undo stop it."),
    Command("apply", "apply:apply", "make a part of the registry equal to a folder of unit files and configs",
            ("apply --dry-run ./units", "apply ./units --at-a-time 25%", "apply ./units --prune --yes"), (_apply,),
            APPLYING),
    Command("history", "versions:history", "the versions of a unit that the registry keeps, newest first",
            ("history web@1",), (_unit, _json)),
    Command("diff", "versions:diff", "what the present file of a unit has changed since another version",
            ("diff web@1", "diff web@1 3fa9c12"), (_version,), "Exits with 2 when they differ."),
    Command("rollback", "versions:rollback", "give a unit, or the instances of a template, an earlier file again",
            ("rollback web@1", "rollback web@.service 3fa9c12 --at-a-time 2"), (_version, _policy),
            "It is a rollout; see: fleetctl help rollout"),
    Command("scale", "scale:scale", "have the instances 1 to N of a template run, and no other numbered one",
            ("scale web@.service 5", "scale web@.service 2 --dry-run"), (_scale,),
            "Instances above N are destroyed, after a question. Others, such as web@blue, are left alone."),
    Command("config", "configs:config", "files and variables for units, in versions",
            ("config set web PORT=8080 --file web.toml", "config set web --file conf.d --file motd=/etc/motd",
             "config unset web PORT", "config list", "config show web", "config show web web.toml",
             "config history web", "config rollback web", "config destroy web"), (_config,), CONFIGURING),
    Command("secret", "configs:secret", "secrets for units, sealed for the machines of the fleet",
            ("secret set db < password.txt", "secret set db", "secret list", "secret history db",
             "secret rollback db", "secret destroy db"), (_secret,), SEALING),
    Command("cat", "cat:cat", "print unit files as they are stored",
            ("cat hello.service",), (UNITS,)),
    Command("status", "hosts:status", "systemctl status from the machines that run the units",
            ("status hello.service", "status 'web@*'"), (UNITS,)),
    Command("journal", "journal:journal", "the journal of units, from all their machines, merged by time",
            ("journal hello.service", "journal -f --lines 100 'web@*'"), (UNITS, _journal)),
    Command("ssh", "hosts:ssh", "a shell or a command on a machine, or where a unit runs",
            ("ssh 7aea1bb4", "ssh hello.service", "ssh --unit hello.service uptime", "ssh -A core-1",
             "ssh --forget-key core-1"), (_ssh,)),
    Command("list-machines", "lists:list_machines", "the machines of the fleet",
            ("list-machines", "list-machines --fields=machine,hostname,units --full"), (Listed(fields.MACHINES),),
            fields.MACHINES.note),
    Command("list-units", "lists:list_units", "what runs, one row per unit and machine",
            ("list-units", "list-units --fields=unit,machine,sub,hash --no-legend"), (Listed(fields.UNITS),),
            fields.UNITS.note),
    Command("list-unit-files", "lists:list_unit_files", "every unit of the registry, wanted and present state",
            ("list-unit-files", "list-unit-files --json"), (Listed(fields.UNIT_FILES),),
            fields.UNIT_FILES.note),
    Command("verify", "verify:verify_files", "say what is wrong with unit files, line by line",
            ("verify hello.service", "verify units/*"), (Names("FILE"),)),
    Command("why", "read:why", "why a unit is not where it should be",
            ("why mars.service",), (UNITS, _json)),
    Command("plan", "plan:plan", "which units would wait if machines were lost",
            ("plan", "plan --without core-2", "plan --without core-2 --without core-3 --json"), (_plan,),
            "Exits with 2 when a unit would wait. Without a machine, each is tried in turn."),
    Command("rebalance", "rebalance:rebalance", "move running units to where they would be placed today",
            ("rebalance --dry-run", "rebalance --at-a-time 2 --yes"), (_rebalance,), REBALANCING),
    Command("drain", "machines:drain", "move what can run elsewhere off machines, and place nothing new there",
            ("drain 7aea1bb4", "drain 7aea1bb4 --at-a-time 2 --healthy-for 30s", "drain --dry-run 7aea1bb4"),
            (MACHINES, _show_only, _no_block, _gently)),
    Command("reboot", "reboot:reboot", "boot machines again, one after the other: drained, booted, used again",
            ("reboot core-1", "reboot core-1 core-2 core-3 --needed"), (MACHINES, _reboot), REBOOTING),
    Command("push", "push:push", "bring a file that units name by its hash (Artifact=) to machines, over SSH",
            ("push dist/server", "push dist/server core-1 core-2"), (_push,),
            "To all machines, unless some are named. Interrupted, say the same again: it goes on where it was."),
    Command("cordon", "machines:cordon", "place nothing new on machines; what runs stays",
            ("cordon 7aea1bb4",), (MACHINES,)),
    Command("uncordon", "machines:uncordon", "use machines again, after drain or cordon",
            ("uncordon 7aea1bb4",), (MACHINES,)),
    Command("set-metadata", "machines:set_metadata", "set metadata of machines at run time, over their own",
            ("set-metadata core-1 region=eu disk=ssd", "set-metadata core-1 core-2 region="),
            (Names("MACHINE|KEY=VALUE"),), "an empty value hides the machine's own"),
    Command("unset-metadata", "machines:unset_metadata", "leave metadata to a machine's own configuration again",
            ("unset-metadata core-1 region",), (Names("MACHINE|KEY"),)),
    Command("backup", "backup:backup", "write what the registry holds to a file, readable by its owner alone",
            ("backup fleet.backup", "backup - | gpg -e -r ops > fleet.backup.gpg"), (_backup,),
            BACKING_UP),
    Command("restore", "restore:restore", "go by a backup, or by a registry that was itself restored",
            ("restore fleet.backup", "restore", "restore --accept --yes"), (_restore,), RESTORING),
    Command("events", "read:events", "who did what to which unit or machine, when and why",
            ("events -f", "events --unit 'web@*' --lines 200"), (_events,)),
    Command("doctor", "doctor:doctor", "say what is wrong with the fleet, and what to do about each",
            ("doctor", "doctor --ssh", "doctor --json"), (_doctor,),
            "The exit status is 0 when all is well, 1 with warnings, 2 when something is broken."),
    Command("access", "access:access", "who may do what in the registry; renew or take back what lets them in",
            ("access list", "access grant ann operator", "access revoke ann", "access rotate",
             "access rotate --authority", "access rotate --secrets", "access check"), (_access,),
            "roles: operator, viewer, scheduler, agent. A machine can be revoked by its name.\n"
            "Without a user, rotate renews all certificates and the passwords of all machines and of this host.\n"
            "A machine that no SSH reaches is left out, and gets another certificate by fleettui token create"
            " --machine; --authority says when.\n"
            "--secrets gives machines a new key, seals every secret for it, and says which units to roll out;\n"
            "run again after that, it takes the earlier key away. Who knew a value knows it still: set another."),
    Command("upgrade", "upgrade:upgrade", "another version of the agents and schedulers that a join has installed",
            ("upgrade", "upgrade --to dist/fleettui-0.2.0-py3-none-any.whl", "upgrade --rollback"), (_upgrade,),
            "Machine by machine, schedulers last; no unit is touched. Interrupted anywhere, run the same again."),
    Command("completion", "completion:script", "print a completion script for a shell",
            ("completion bash > /etc/bash_completion.d/fleetctl",
             "completion zsh > /usr/local/share/zsh/site-functions/_fleetctl",
             "completion fish > ~/.config/fish/completions/fleetctl.fish"), (_shell,),
            "Commands, flags, their values and paths are completed, and names as the registry has them now."),
    Command("version", "about:version", "print the version", ("version",)),
    Command("help", "about:help_text", "explain a command", ("help start",), (_topic,)),
    Command("__complete", "completion:complete", "", (), (_words,)),
)  # fmt: skip
BY_NAME = {command.name: command for command in COMMANDS}
SHOWN = tuple(command for command in COMMANDS if command.summary)

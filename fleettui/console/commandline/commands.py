"""The command line: parse a line, with `fleetctl`'s own grammar, into the command that it asks for. Pure.

Every `fleetctl` verb is here: those that change become operations, those that show open a view, a page or the
journal. A few words are the console's own. `screens/executor.py` executes the commands.
"""

from __future__ import annotations

import difflib
import re
import shlex
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

from fleettui.actions.metadata import to_set, to_unset
from fleettui.actions.rollouts import MOVES_STAY
from fleettui.actions.versions import choose, versions
from fleettui.cli.arguments import command_parser, find, options, parse
from fleettui.cli.commands import BY_NAME, GLOBALS, SHOWN, Command
from fleettui.console.operations.verbs import AVAILABILITY, READ_ONLY, MachineVerb, RolloutVerb
from fleettui.console.tables.query import parse_query
from fleettui.verbs import INTRODUCING, ON_UNITS, Verb
from registry.errors import UserError
from registry.mirror import Snapshot
from registry.model import OnFailure, Target
from registry.units.name import glob_refusal, is_glob, matches, normalise
from registry.units.name import parse as parse_name


@dataclass(frozen=True, slots=True)
class VerbCommand:
    """Carry a verb out on units of the registry."""

    verb: Verb
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SubmitFiles:
    """Bring units to a target; those that the registry lacks come from a template or from disk."""

    verb: Verb
    target: Target
    arguments: tuple[str, ...]
    replace: bool = False


@dataclass(frozen=True, slots=True)
class MachineCommand:
    """Cordon, drain or uncordon machines, by id."""

    verb: str
    machines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MetadataCommand:
    """Change metadata of machines, by id; None ends what was set."""

    machines: tuple[str, ...]
    changes: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Scale:
    """Have so many instances of a template run."""

    template: str
    count: int


@dataclass(frozen=True, slots=True)
class Rebalance:
    """Move units to where they would be placed today; `flags` are those of a rollout's policy, and `dry_run`."""

    flags: Namespace


@dataclass(frozen=True, slots=True)
class RollUnits:
    """Begin a rollout; `file` "": a restart, or with `renews` newer configs. `flags` are those of its policy."""

    names: tuple[str, ...]
    file: str
    flags: Namespace
    renews: bool = False


@dataclass(frozen=True, slots=True)
class ShowVersion:
    """Show the file of a unit, compared with the one so many versions `back`."""

    unit: str
    back: int = 0


@dataclass(frozen=True, slots=True)
class RestoreVersion:
    """Bring back the file of a unit that it had so many versions ago; `flags` are those of a rollout's policy."""

    unit: str
    back: int
    flags: Namespace


@dataclass(frozen=True, slots=True)
class RolloutCommand:
    """Pause, resume, abort, undo or redo a rollout; `verb` None: show it."""

    verb: RolloutVerb | None
    name: str


@dataclass(frozen=True, slots=True)
class Show:
    """Open what there is to see of units: why, file, status, journal, events."""

    what: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Open:
    """Open a view; `filter` None leaves its filter."""

    view: str
    filter: str | None = None


@dataclass(frozen=True, slots=True)
class Shell:
    """A shell on a machine (by id), where a unit runs, or wherever the cursor is."""

    machine: str = ""
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Sort:
    """Sort the open view."""

    column: str
    descending: bool | None = None  # None: in the column's usual order


@dataclass(frozen=True, slots=True)
class Verify:
    """Say what is wrong with unit files on disk."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Help:
    """Explain a command, or all."""

    topic: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """Do what one of the console's own keys does."""

    action: str


@dataclass(frozen=True, slots=True)
class OpenFleet:
    """Open another fleet; "": ask which."""

    name: str = ""


@dataclass(frozen=True, slots=True)
class RunThere:
    """Run a command on the chosen machines, or one of the operator's own."""

    argv: tuple[str, ...] = ()
    own: str = ""


@dataclass(frozen=True, slots=True)
class Theme:
    """Other colours."""

    name: str


ConsoleCommand: TypeAlias = (
    VerbCommand | SubmitFiles | MachineCommand | MetadataCommand | RolloutCommand | RollUnits
    | ShowVersion | RestoreVersion | Scale | Rebalance
    | Show | Open | Shell | Sort | Verify | Help | Run | Theme | OpenFleet | RunThere
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CommandContext:
    """What a line is read against."""

    snapshot: Snapshot
    columns: tuple[str, ...] = ()  # of the open view
    themes: tuple[str, ...] = ()
    read_only: bool = False
    fleets: tuple[str, ...] = ()
    own: tuple[str, ...] = ()  # the operator's own commands
    values: Callable[[str, str], Iterable[str]] = lambda view, facet: ()  # noqa: ARG005 - of a view's facet, now


@dataclass(frozen=True, slots=True)
class ConsoleWord:
    """A word of the console's own."""

    usage: str
    summary: str
    read: Callable[[Sequence[str], CommandContext], ConsoleCommand]
    changes: bool = False


VIEWS = ("units", "machines", "pending", "events", "map", "rollouts", "configs")
OF_FLEETCTL = frozenset(name for name, each in BY_NAME.items() if each.changes)
CHANGING = OF_FLEETCTL | {*Verb, *MachineVerb, "backup", "signal"}
"""A backup is a file."""
BARRED = CHANGING | {"ssh", "run"}  # in a read-only console: what changes, and what runs something on a machine

SHOWING = {"cat": "file", "status": "status", "journal": "journal", "why": "why"}
LOOKING = (
    ["rollout", "list"],
    ["rollout", "status"],
    ["rebalance", "--dry-run"],
)  # and changes nothing
METADATA = {"set-metadata": to_set, "unset-metadata": to_unset}
LISTING = {"list-units": "units", "list-unit-files": "units", "list-machines": "machines"}
ELSEWHERE = {
    "completion": "prints a script for a shell; run it there",
    "__complete": "is for shells",
    "backup": "writes a file; make it in a terminal: fleetctl backup FILE",
    "plan": "is shown in a terminal: fleetctl plan --without MACHINE",
    "apply": "takes a folder; run it in a terminal: fleetctl apply DIR",
    "restore": "is decided in a terminal, where it tells what changes: fleetctl restore",
    "config": "takes files; run it in a terminal: fleetctl config",
    "secret": "is read from a terminal or a file; run it there: fleetctl secret",
    "push": "takes a file; run it in a terminal: fleetctl push FILE",
    "access": "is managed in a terminal, as etcd's root: fleetctl access",
    "reboot": "goes from machine to machine; follow it in a terminal: fleetctl reboot",
    "upgrade": "goes from machine to machine; follow it in a terminal: fleetctl upgrade",
}


def parse_command(line: str, context: CommandContext) -> ConsoleCommand | None:
    """Return what the line asks for; None for an empty one. UserError, with the remedy, for what makes no sense."""
    if (own := unsplit(line, context)) is not None:
        return own
    words = split(line)
    if words[:1] == ["fleetctl"]:  # as copied from a terminal, or from here
        words = words[1:]
    if not words:
        return None
    name = words[0]
    if {"-h", "--help"} & {*words}:
        return Help(find_any(name) if not name.startswith("-") else "")
    if name in BARRED and context.read_only and words[:2] not in LOOKING:
        raise UserError(f"cannot {name}: {READ_ONLY}")
    if name in OWN and not (name == "events" and len(words) > 1):
        return OWN[name].read(words[1:], context)
    find_any(name)
    return _fleetctl(words, context)


def complete_names(context: CommandContext) -> list[str]:
    """Return all first words of a line here, with the operator's own commands."""
    return [*names_of_commands(read_only=context.read_only), *(() if context.read_only else context.own)]


def unsplit(line: str, context: CommandContext) -> ConsoleCommand | None:
    """What a line asks for that has a grammar of its own: a filter, a command for machines; None for any other."""
    if (found := filtered_view(line)) is not None:
        query = parse_query(found[1])
        if query.error:
            raise UserError(f"the filter, {query.error}")
        return Open("" if found[0] == "filter" else found[0], found[1])
    first, _, rest = line.strip().partition(" ")
    if first == "run" or first in context.own:
        if context.read_only:
            raise UserError(f"cannot run commands: {READ_ONLY}")
        argv = quoted_words(rest)
        if first == "run" and not argv:
            raise UserError("run what? such as run uptime; a pipe is run sh -c '…'")
        if first != "run" and argv:
            raise UserError(f"{first} takes nothing; it is about what is selected")
        return RunThere(tuple(argv)) if first == "run" else RunThere(own=first)
    return None


def filtered_view(line: str) -> tuple[str, str] | None:
    """The view and the filter of a line such as `units state:failed`; None for another line.

    A filter has quotes of its own: it is not split as a shell would split it.
    """
    name, _, rest = line.strip().partition(" ")
    rest = rest.strip()
    return (name, rest) if name in ("filter", *VIEWS) and rest and not rest.startswith("-") else None


def hint(line: str, context: CommandContext) -> tuple[str, bool]:
    """What a line that is being typed means so far, and whether something is wrong with it."""
    if (found := filtered_view(line)) is not None:
        query = parse_query(found[1])
        return query.error or query.doubt or query.explained(), bool(query.error or query.doubt)
    name = line.split(maxsplit=1)[0] if line.split() else ""
    if name in context.own:
        return f"{name}: a command of your own, from the configuration", False
    if name in OWN:
        return f"{OWN[name].usage}: {OWN[name].summary}", False
    if name in ELSEWHERE:
        return f"{name} {ELSEWHERE[name]}", False
    if name in BARRED and context.read_only:
        return f"cannot {name}: {READ_ONLY}", True
    return (BY_NAME[name].summary if name in BY_NAME else ""), False


def find_any(name: str) -> str:
    """Return the name of a command, of fleetctl's or the console's own. UserError with the nearest one."""
    if name in OWN or (name in BY_NAME and name != "__complete"):
        return name
    near = difflib.get_close_matches(name[:40], names_of_commands(), n=1)
    raise UserError(f"unknown command {name[:60]!r}; {f'did you mean {near[0]}?' if near else 'see :help'}")


def names_of_commands(*, read_only: bool = False) -> list[str]:
    """Return all first words of a line."""
    known = dict.fromkeys([*(command.name for command in SHOWN), *OWN])
    return [name for name in known if not (read_only and name in BARRED)]


def _fleetctl(words: Sequence[str], context: CommandContext) -> ConsoleCommand:
    command, flags = parse(words)
    for flag, _, _ in GLOBALS:
        if getattr(flags, flag.lstrip("-").replace("-", "_"), None) not in (None, False):
            raise UserError(f"{flag}: this console is connected already; leave it out")
    name = command.name
    if name in ELSEWHERE:
        raise UserError(f"{name} {ELSEWHERE[name]}")
    if name in INTRODUCING:
        verb = Verb(name)
        target = verb.rules.target or Target.INACTIVE
        return SubmitFiles(verb, target, known_or_new(flags.names, context.snapshot), flags.replace)
    if name in ON_UNITS:
        names = units_called(flags.names, context.snapshot)
        return RollUnits(names, "", flags) if getattr(flags, "at_a_time", None) else VerbCommand(Verb(name), names)
    if name in METADATA:
        named, changes = METADATA[name](flags.names)
        return MetadataCommand(_machines_called(named, context.snapshot), changes)
    if name in SHOWING:
        return Show(SHOWING[name], units_called(flags.names, context.snapshot))
    return _other(command, flags, context)


def _other(command: Command, flags: Namespace, context: CommandContext) -> ConsoleCommand:
    name = command.name
    if name in LISTING:
        return Open(LISTING[name], "")
    if name in OTHERS:
        return OTHERS[name](flags, context)
    if name == "verify":
        return Verify(tuple(flags.names))
    if name == "version":
        return Run("version")
    if name not in AVAILABILITY:
        raise UserError(f"{name} cannot be done from here; use fleetctl {name} in a terminal")
    return MachineCommand(name, _machines_called(flags.names, context.snapshot))


def _rollout(flags: Namespace, context: CommandContext) -> ConsoleCommand:
    act, names = (flags.names or [""])[0], flags.names[1:]
    if act in ("", "list"):
        return Open("rollouts", "")
    if act != "status" and act not in ROLLOUT_ACTS:
        if context.read_only:
            raise UserError(f"cannot rollout: {READ_ONLY}")
        return RollUnits(units_called(flags.names, context.snapshot), flags.file or "", flags, renews=True)
    if len(names) != 1 or names[0] not in context.snapshot.rollouts:
        near = difflib.get_close_matches(names[0], context.snapshot.rollouts, n=1) if names else ()
        raise UserError(
            f"which rollout? {f'there is none called {names[0][:60]}; ' if names else ''}"
            + (f"did you mean {near[0]}?" if near else "see :rollouts")
        )
    return RolloutCommand(ROLLOUT_ACTS.get(act), names[0])


def _versions(flags: Namespace, context: CommandContext) -> ConsoleCommand:
    unit = units_called([flags.unit], context.snapshot)[0]
    if not hasattr(flags, "version_hash"):  # history
        return ShowVersion(unit)
    found = versions(context.snapshot, unit)
    back = found.index(choose(found, flags.version_hash, unit))
    return RestoreVersion(unit, back, flags) if hasattr(flags, "at_a_time") else ShowVersion(unit, back)


def _scale(flags: Namespace, _: CommandContext) -> ConsoleCommand:
    name = parse_name(normalise(flags.unit))
    if not name.is_template:
        raise UserError(f"{name.full} is no template such as web@.service; name one")
    return Scale(name.full, flags.count)


def _rebalance(flags: Namespace, _: CommandContext) -> ConsoleCommand:
    if flags.on_failure == OnFailure.ROLLBACK:
        raise UserError(MOVES_STAY)
    return Rebalance(flags)


ROLLOUT_ACTS = {verb.value: verb for verb in RolloutVerb if verb is not RolloutVerb.BEGIN}


def _events(flags: Namespace, context: CommandContext) -> ConsoleCommand:
    terms = [f"unit={flags.unit if is_glob(flags.unit) else normalise(flags.unit)}"] if flags.unit else []
    if flags.machine:
        machine = context.snapshot.machines.get(machine_called(flags.machine, context.snapshot))
        terms.append(f"machine={machine.hostname if machine else flags.machine}")
    return Open("events", " ".join(terms))


def _shell(flags: Namespace, context: CommandContext) -> ConsoleCommand:
    if flags.unit:
        return Shell(unit=units_called([flags.unit], context.snapshot)[0])
    if flags.machine:
        return Shell(machine=machine_called(flags.machine, context.snapshot))
    if len(flags.rest) > 1:
        raise UserError("ssh opens a shell here; for one command use fleetctl ssh in a terminal")
    if not flags.rest:
        return Shell()
    try:
        return Shell(machine=machine_called(flags.rest[0], context.snapshot))
    except UserError:
        return Shell(unit=units_called(flags.rest, context.snapshot)[0])


OTHERS: Mapping[str, Callable[[Namespace, CommandContext], ConsoleCommand]] = {
    "events": _events, "ssh": _shell, "rollout": _rollout, "history": _versions, "diff": _versions,
    "rollback": _versions, "scale": _scale, "rebalance": _rebalance,
}  # fmt: skip


# Names


def units_called(words: Iterable[str], snapshot: Snapshot) -> tuple[str, ...]:
    """The units meant by names and globs, each once. UserError for what the registry does not know."""
    names: dict[str, None] = {}
    for word in words:
        if is_glob(word):
            names |= dict.fromkeys(_matching(word, snapshot))
        elif (name := normalise(word)) in snapshot.units or _leftover(name, snapshot):
            names[name] = None
        else:
            alike = (each for each in snapshot.units if each[:1] == name[:1])
            near = difflib.get_close_matches(name, islice(alike, 2000), n=1)  # all of a large fleet take seconds
            hint = f"did you mean {near[0]}?" if near else "see :list-units"
            raise UserError(f"no unit is called {name}; {hint}")
    return tuple(names)


def known_or_new(words: Iterable[str], snapshot: Snapshot) -> tuple[str, ...]:
    """Return names and paths as they are, globs as the units that they match."""
    found: dict[str, None] = {}
    for word in words:
        found |= dict.fromkeys(_matching(word, snapshot) if is_glob(word) else (word,))
    return tuple(found)


def _matching(pattern: str, snapshot: Snapshot) -> list[str]:
    if refused := glob_refusal(pattern):
        raise UserError("; ".join(refused))
    matched = sorted(name for name in snapshot.units if matches(pattern, name))
    if not matched:
        raise UserError(f"no unit matches {pattern}; see :list-units")
    return matched


def _leftover(name: str, snapshot: Snapshot) -> bool:
    """Whether a unit that is destroyed, or corrupt, is still somewhere."""
    return any(unit == name for _, unit in snapshot.states) or any(
        key.endswith(f"/units/{name}") for key in snapshot.corrupt
    )


def _machines_called(words: Iterable[str], snapshot: Snapshot) -> tuple[str, ...]:
    return tuple(dict.fromkeys(machine_called(word, snapshot) for word in words))


def machine_called(text: str, snapshot: Snapshot) -> str:
    """The id of the one machine meant by an id, a beginning of it, a host name or an address. UserError."""
    wanted = text.removesuffix("...")
    machines = snapshot.machines.values()
    exact = [each.id for each in machines if text in (each.id, each.hostname, each.address)]
    fitting = exact or [each.id for each in machines if wanted and each.id.startswith(wanted.lower())]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UserError(f"{text} could be {len(fitting)} machines; give more of the id")
    near = difflib.get_close_matches(text, [each.hostname for each in machines][:2000], n=1)
    raise UserError(
        f"no machine is called {text[:60]}; {f'did you mean {near[0]}?' if near else 'see :list-machines'}"
    )


# Words, with quotes and braces as a shell has them: lines are pasted from one

LIMIT = 10_000  # names that braces may make
MOST_BRACES = 64  # in a word
_BRACES = re.compile(r"^(.*?)\{([^{}]*)\}(.*)$")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def split(line: str) -> list[str]:
    """The line's words, with braces as a shell has them. UserError for a quote that is not closed."""
    return [name for word in quoted_words(line) for name in expand_braces(word)]


def quoted_words(line: str) -> list[str]:
    """The line's words, as a shell reads quotes and nothing else. UserError for a quote that is not closed."""
    try:
        return shlex.split(line)
    except ValueError:
        raise UserError("a quote is not closed; close it") from None


def expand_braces(word: str) -> list[str]:
    """`web@{1..3}` and `{db,mail}.service` as a shell expands them. UserError for more than `LIMIT`."""
    if word.count("{") > MOST_BRACES:
        raise UserError(f"{word[:40]} … has more than {MOST_BRACES} braces; use fewer")
    names: list[str] = []
    for name in _expand(word):
        names.append(name)
        if len(names) > LIMIT:
            raise UserError(f"{word} makes more than {LIMIT:,} names; narrow the braces")
    return names


def _expand(word: str) -> Iterator[str]:
    found = _BRACES.match(word)
    parts = _alternatives(found[2]) if found else None
    if found is None or parts is None:
        yield word
        return
    for part in parts:
        yield from _expand(f"{found[1]}{part}{found[3]}")


def _alternatives(inside: str) -> Iterator[str] | None:
    """What stands for the braces; None when they are plain text."""
    ends = _RANGE.fullmatch(inside)
    if not ends:
        return iter(inside.split(",")) if "," in inside else None
    width = max(map(len, ends.groups())) if any(each.startswith("0") for each in ends.groups()) else 0
    low, high = int(ends[1][:12]), int(ends[2][:12])
    numbers = range(low, high + 1) if low <= high else range(low, high - 1, -1)
    return (str(number).zfill(width) for number in numbers)


# The console's own words


def _just(command: ConsoleCommand) -> Callable[[Sequence[str], CommandContext], ConsoleCommand]:
    def read(words: Sequence[str], _: CommandContext) -> ConsoleCommand:
        if words:
            raise UserError(f"unexpected {words[0]!r}; leave it out")
        return command

    return read


def _view(name: str) -> Callable[[Sequence[str], CommandContext], ConsoleCommand]:
    def read(words: Sequence[str], _: CommandContext) -> ConsoleCommand:
        return Open(name, " ".join(words) if words else None)

    return read


def _cluster(words: Sequence[str], context: CommandContext) -> ConsoleCommand:
    if words[1:] or (words and words[0] not in context.fleets):
        known = ", ".join(context.fleets) or "none; put fleet.toml files into ~/.config/fleet/clusters"
        raise UserError(f"which fleet? known: {known}")
    return OpenFleet(words[0] if words else "")


def _theme(words: Sequence[str], context: CommandContext) -> ConsoleCommand:
    if len(words) != 1 or words[0] not in context.themes:
        raise UserError(f"which theme? one of {', '.join(context.themes)}")
    return Theme(words[0])


def _sort(words: Sequence[str], context: CommandContext) -> ConsoleCommand:
    if not context.columns:
        raise UserError("this view has no columns to sort by; it has an order of its own")
    if not words or words[0].lower() not in context.columns or words[1:] not in ([], ["desc"], ["asc"]):
        raise UserError(f"sort by what? one of {', '.join(context.columns)}; desc after it turns the order round")
    return Sort(words[0].lower(), words[1] == "desc" if words[1:] else None)


OWN: dict[str, ConsoleWord] = {
    "filter": ConsoleWord(
        "filter [WORDS …]",
        "show only rows that match; without words all",
        lambda words, _: Open("", " ".join(words)),
    ),
    "sort": ConsoleWord("sort COLUMN [asc|desc]", "sort the open view", _sort),
    "columns": ConsoleWord("columns", "choose the columns and the order", _just(Run("columns"))),
    "cluster": ConsoleWord("cluster [NAME]", "open another fleet, with the same unit selected", _cluster),
    "run": ConsoleWord(
        "run COMMAND …",
        "run a command on the chosen machines, side by side",
        lambda words, _: RunThere(tuple(words)),
        changes=True,
    ),
    "theme": ConsoleWord("theme NAME", "other colours", _theme),
    "at": ConsoleWord(
        "at TIME",
        "go to a moment of the record that --at shows: 02:10, yesterday 02:10, 10 minutes ago",
        lambda words, _: Run(f"leap({' '.join(words)!r})"),
    ),
    "save": ConsoleWord(
        "save FILE", "write the open page or table to a file", lambda words, _: Run(f"save({' '.join(words)!r})")
    ),
    "signal": ConsoleWord(
        "signal SIGNAL",
        "send a signal to the selected unit's processes; asks",
        lambda words, _: Run(f"signal({' '.join(words)!r})"),
        changes=True,
    ),
    "pager": ConsoleWord("pager", "open the page or table in $PAGER", _just(Run("pager"))),
    "undo": ConsoleWord("undo", "take the last action back", _just(Run("undo")), changes=True),
    "redo": ConsoleWord("redo", "do again what was taken back last", _just(Run("redo")), changes=True),
    **{
        name: ConsoleWord(f"{name} [WORDS …]", f"open {name.capitalize()}, filtered", _view(name)) for name in VIEWS
    },
    "secrets": ConsoleWord("secrets", "open Configs with the secrets alone", _just(Open("configs", "kind:secret"))),
    "help": ConsoleWord(
        "help [COMMAND]",
        "explain a command; without one, list all",
        lambda words, _: Help(find_any(words[0]) if words else ""),
    ),
    "quit": ConsoleWord("quit", "leave the console; the fleet goes on", _just(Run("quit"))),
    "q": ConsoleWord("q", "quit", _just(Run("quit"))),
}


def summaries(*, read_only: bool = False) -> list[tuple[str, str]]:
    """Every command that can be typed, with a line about each."""
    found = []
    for name in names_of_commands(read_only=read_only):
        if name in OWN and name not in BY_NAME:
            found.append((OWN[name].usage, OWN[name].summary))
        elif name not in ELSEWHERE:
            kinds = [kind for kind in ("UNIT", "FILE", "MACHINE") if BY_NAME[name].takes(kind)]
            found.append((f"{name} {'|'.join(kinds)}{' …' if kinds else ''}".strip(), BY_NAME[name].summary))
    return found


def usage(topic: str) -> list[str]:
    """The help of a command, as fleetctl prints it."""
    if topic in OWN and topic != "events":
        own = OWN[topic]
        return [f"usage: :{own.usage}", "", f"{own.summary[:1].upper()}{own.summary[1:]}."]
    return command_parser(find(topic)).format_help().splitlines()


def flags_of(name: str) -> list[str]:
    """The long flags of a fleetctl verb that make sense here."""
    foreign = {flag for flag, _, _ in GLOBALS} | {"--help", "--"}
    return (
        [flag for flag in options(command_parser(BY_NAME[name])) if flag not in foreign] if name in BY_NAME else []
    )

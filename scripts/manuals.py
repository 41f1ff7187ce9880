"""The man pages of docs/man/, for scripts/reference.

Options come from the parsers that print --help, commands from `fleettui/cli/commands.py`, keys of the
configuration from `registry/program/config.py`, options of units from `registry/units/options.py`. What is said
around them stands here. The pages use man(7) macros alone, so that groff and mandoc show them alike.
"""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from inspect import getdoc

import agentd.__main__
import fleettui.__main__
import fleettui.serve
import scheduler.__main__
from fleettui.cli.arguments import command_parser, global_parser
from fleettui.cli.commands import SHOWN
from fleettui.demo import commands as demo
from fleettui.install import commands as install
from fleettui.record import commands as record
from fleettui.tokens import commands as tokens
from registry.program.config import TABLES, Settings, specs
from registry.program.version import installed_version
from registry.units.options import LEGACY, OPTIONS

DATE = "2026-11-26"  # when the text in this script last changed
FILES = """\
/etc/fleet/fleet.toml
The configuration: fleet.toml(5).
"""
OPERATOR_FILES = """\
~/.config/fleet/fleet.toml, /etc/fleet/fleet.toml
The configuration, the first of them that exists: fleet.toml(5).
"""
ENVIRONMENT = (
    "Each key of the configuration has a variable, FLEET_TABLE_KEY, and FLEET_CONFIG names the file: fleet.toml(5)."
)
SEE = (
    "fleettui(1)", "fleetctl(1)", "fleet.toml(5)", "fleet.unit(5)", "fleet-agentd(8)", "fleet-scheduler(8)",
    "systemd.unit(5)",
)  # fmt: skip


def made() -> dict[str, str]:
    """Every page by its file name."""
    return {
        "fleetctl.1": page("fleetctl", "1", "tell a fleet of machines which systemd units to run", fleetctl()),
        "fleettui.1": page("fleettui", "1", "a fleet of machines, live in a terminal", console()),
        "fleet-agentd.8": page("fleet-agentd", "8", "run the fleet's units on this machine", agent()),
        "fleet-scheduler.8": page("fleet-scheduler", "8", "decide which machine runs each unit", scheduler_page()),
        "fleet.toml.5": page("fleet.toml", "5", "configuration of a fleet's programs", configuration()),
        "fleet.unit.5": page("fleet.unit", "5", "where a fleet may run a unit", unit_options()),
    }


def fleetctl() -> Iterator[str]:
    """The commands, each with its flags and examples; what they share comes after them."""
    yield from synopsis("fleetctl", "[FLAGS] COMMAND ...", "help COMMAND")
    yield section("DESCRIPTION")
    yield text(
        "fleetctl changes what a fleet should run, and shows what it does run. It writes to the "
        "registry, an etcd; "
        "schedulers and agents carry it out. Names of units may be globs. A name without a "
        "suffix means a .service."
    )
    yield section("COMMANDS")
    for command in SHOWN:
        parser = command_parser(command)
        yield f".SS {escaped(parser.prog.partition(' ')[2])}"
        yield text(parser.description or "")
        yield from options(parser)
        yield "\n".join(
            [".PP", ".nf", ".RS 4", *(escaped(f"fleetctl {each}") for each in command.examples), ".RE", ".fi"]
        )
        if command.notes:
            yield f".PP\n{text(command.notes)}"
    yield section("GLOBAL FLAGS")
    yield text("They may stand before or after the command.")
    yield from options(global_parser())
    yield section("EXIT STATUS")
    yield from terms(
        [
            ("0", "Done."),
            ("1", "Not done, or not all of it; stderr says what, why and the remedy."),
            ("2", "The command line is wrong."),
            ("130", "Interrupted."),
        ]
    )
    yield from files(OPERATOR_FILES)


def console() -> Iterator[str]:
    """The console's own flags, then its commands."""
    parser = fleettui.__main__.parser()
    yield from synopsis(
        "fleettui",
        "[FLAGS]",
        "join [FLAGS] HOST ...",
        "token [FLAGS] COMMAND [TOKEN]",
        "leave [FLAGS] MACHINE",
        "demo [FLAGS] [COMMAND]",
        "record [FLAGS]",
        "serve [FLAGS]",
    )
    yield section("DESCRIPTION")
    yield text(
        f"{parser.description} Every unit and machine, the journal, and why something is not "
        f"where it should be. ? shows the keys, "
        "ctrl+q leaves; the fleet goes on without the console."
    )
    yield section("OPTIONS")
    yield from options(parser)
    yield section("COMMANDS")
    shown = (
        install.join_parser(),
        tokens.token_parser(),
        install.leave_parser(),
        demo.parser(),
        record.parser(),
        fleettui.serve.parser(),
    )
    for each in shown:
        yield f".SS {escaped(each.prog.partition(' ')[2])}"
        yield text(each.description or "")
        yield from options(each)
    yield from files(OPERATOR_FILES)


def flags_of_a_daemon(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The options and the exit status of agent or scheduler."""
    yield section("OPTIONS")
    yield from options(parser)
    yield section("EXIT STATUS")
    yield from terms(
        [
            ("0", "Ended in order."),
            ("1", "An error, which stderr tells in one line."),
            ("2", "The command line is wrong."),
        ]
    )


def agent() -> Iterator[str]:
    """The agent's options and signals."""
    parser = agentd.__main__.parser()
    yield from synopsis("fleet-agentd", "[FLAGS]")
    yield section("DESCRIPTION")
    yield text(parser.description or "")
    yield ".PP"
    yield text(
        "One runs on every machine of a fleet, as the service fleet-agentd.service. A restart of "
        "it is invisible to units. When it is "
        "stopped for good, or the machine is shut down, it hands its units over: it stops them, "
        "and other machines take them."
    )
    yield ".PP"
    yield text("systemctl status fleet-agentd says at every moment how it stands with the registry.")
    yield from flags_of_a_daemon(parser)
    yield from files(
        FILES + "/run/fleet\nUnit files, and what it has done with them. It outlives a restart of the agent.\n"
    )


def scheduler_page() -> Iterator[str]:
    """The scheduler's options."""
    parser = scheduler.__main__.parser()
    yield from synopsis("fleet-scheduler", "[FLAGS]")
    yield section("DESCRIPTION")
    yield text(parser.description or "")
    yield ".PP"
    yield text(
        "It runs as the service fleet-scheduler.service, as a user of its own that exists while "
        "it runs. systemctl status "
        "fleet-scheduler says whether it leads."
    )
    yield from flags_of_a_daemon(parser)
    yield from files(
        FILES + "/var/lib/fleet-scheduler\nHow far it has acted, so that a restored backup is noticed.\n"
    )


def configuration() -> Iterator[str]:
    """Every key by its table."""
    yield section("DESCRIPTION")
    yield text(
        "One file in TOML for every program, then environment variables, then flags; what comes "
        "later wins. Daemons read "
        "/etc/fleet/fleet.toml, operators' programs the first that exists of "
        "~/.config/fleet/fleet.toml and that one. "
        "--config or FLEET_CONFIG names another file."
    )
    yield ".PP"
    yield text(
        "In a variable a list is separated by commas, a table is written region=eu,disk=ssd, and "
        "true is true, 1 or yes. A duration is a "
        'number of seconds, or text such as "500ms", "10s", "2m", "1h".'
    )
    settings = Settings()
    for table in TABLES:
        values = getattr(settings, table)
        yield section(f"[{table}]")
        yield text(getdoc(type(values)) or "")
        for key, spec in specs(table).items():
            default = spec.unset or toml(getattr(values, key))
            names = ", ".join((f"FLEET_{table}_{key}".upper(), *spec.aliases))
            takes = f"Takes {spec.rule.expects}; without it: {default}. Variables: {names}."
            yield from terms([(key, f"{sentence(spec.meaning)} {takes}".replace("`", ""))])
    yield from files(FILES)


def unit_options() -> Iterator[str]:
    """The options of a unit's section [X-Fleet]."""
    yield section("DESCRIPTION")
    yield text(
        "A unit of a fleet is an ordinary unit file: systemd.unit(5). Its section [X-Fleet], "
        "which systemd passes over, says where it may "
        "run; without one it runs on any one machine. Options of several values take words "
        "separated by blanks, and may be repeated; "
        "an empty value forgets what stood before. Specifiers such as %i are replaced as in systemd."
    )
    yield section("OPTIONS")
    for name, meaning in OPTIONS.items():
        older = [old for old, new in LEGACY.items() if new == name]
        also = f" Older files call it {' or '.join(older)}." if older else ""
        yield from terms([(f"{name}=", f"{sentence(meaning)}{also}".replace("`", ""))])
    yield section("EXAMPLE")
    yield ".nf"
    for line in (
        "[Unit]",
        "Description=Hello",
        "",
        "[Service]",
        "ExecStart=/bin/sh -c 'while true; do echo hello; sleep 5; done'",
        "",
        "[X-Fleet]",
        "MachineMetadata=region=eu",
        "Conflicts=hello@*.service",
    ):
        yield escaped(line) or r"\&"
    yield ".fi"
    yield from files("")


def page(name: str, number: str, what: str, body: Iterable[str]) -> str:
    """Return a whole page."""
    head = [
        '.\\" Made by scripts/manuals.',
        f'.TH {escaped(name.upper())} {number} {DATE} "fleettui {installed_version()}"',
        ".ad l",  # names of variables are too long to be set in even lines
        ".SH NAME",
        f"{escaped(name)} \\- {escaped(what)}",
    ]
    others = [each for each in SEE if each != f"{name}({number})"]
    tail = [section("SEE ALSO"), text(", ".join(others))]
    return "\n".join([*head, *body, *tail]) + "\n"


def synopsis(program: str, *forms: str) -> Iterator[str]:
    """The forms of a call."""
    yield section("SYNOPSIS")
    for number, form in enumerate(forms):
        if number:
            yield ".br"
        yield f".B {escaped(program)}\n{escaped(form)}"


def files(listed: str) -> Iterator[str]:
    """The files, by lines of name and meaning; the environment goes with them."""
    if listed:
        lines = listed.splitlines()
        yield section("FILES")
        yield from terms(zip(lines[::2], lines[1::2], strict=True))
        yield section("ENVIRONMENT")
        yield text(ENVIRONMENT)


def options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """What a parser takes, as its help says it; commands of it, too."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no public way to ask
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for choice in action._choices_actions:  # noqa: SLF001
                yield from terms([(choice.dest, sentence(choice.help or ""))])
        elif action.option_strings and action.help not in (None, argparse.SUPPRESS):
            if action.dest == "help" and " " in parser.prog:
                continue  # said once, of the program
            takes = action.metavar or (f"{{{','.join(map(str, action.choices))}}}" if action.choices else "")
            names = ", ".join(action.option_strings)
            shown = f"{names} {takes}".strip() if action.nargs != 0 else names
            yield from terms([(shown, sentence(str(action.help)))])


def terms(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Words in bold, each with what it means."""
    for word, meaning in pairs:
        yield f".TP\n.B {escaped(word)}\n{text(meaning)}"


def sentence(words: str) -> str:
    """Return a help text as a sentence."""
    first = words if words.startswith("etcd") else f"{words[:1].upper()}{words[1:]}"
    return f"{first}{'' if words.endswith('.') else '.'}".replace("%%", "%")


def toml(value: object) -> str:
    """Return a default as one would write it in the file."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, float):
        return f'"{value:g}s"'
    if isinstance(value, tuple):
        return f"[{', '.join(map(toml, value))}]"
    return "{}" if isinstance(value, Mapping) else str(value)


def section(name: str) -> str:
    """Return a section's heading."""
    return f".SH {escaped(name)}"


def text(words: str) -> str:
    """Return a text, each sentence on lines of its own, as man pages are kept."""
    sentences = re.split(r"(?<=[.]) +(?=[A-Z(])", " ".join(words.split()))
    return "\n".join(
        escaped(line) for each in sentences for line in textwrap.wrap(each, 62, break_on_hyphens=False)
    )


def escaped(words: str) -> str:
    """Return words without a meaning for roff."""
    plain = (
        words.replace("\\", "\\e")
        .replace("-", "\\-")
        .replace("…", "...")
        .replace("'", "\\(aq")
        .replace("`", "\\(ga")
    )
    return re.sub(r"^\.", r"\\&.", plain.replace("~", "\\(ti").replace("^", "\\(ha").replace('"', "\\(dq"))

"""`fleetctl version` and `fleetctl help`: what the program says of itself."""

from __future__ import annotations

from argparse import Namespace

from fleettui.cli.arguments import command_parser, find, global_parser
from fleettui.cli.commands import SHOWN
from fleettui.cli.failures import OK
from registry.program.version import installed_version

HEAD = "fleetctl - tell a fleet of machines which systemd units to run\n\ncommands:"


def version(_flags: Namespace) -> int:
    """Print the version of the installed distribution."""
    print(f"fleetctl version {installed_version()}")
    return OK


def help_text(flags: Namespace) -> int:
    """Print one command's help, or the list of commands with the global flags."""
    if flags.topic:
        command_parser(find(flags.topic)).print_help()
        return OK
    print(HEAD)
    for command in SHOWN:
        print(f"  {command.name:<16} {command.summary}")
    print()
    print(global_parser().format_help().partition("\n\n")[2].rstrip())
    print("\nA configuration file is read from ~/.config/fleet/fleet.toml, else /etc/fleet/fleet.toml.")
    print("A command's flags and examples: fleetctl help COMMAND")
    return OK

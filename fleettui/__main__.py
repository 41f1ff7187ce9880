"""`fleettui`: the console without arguments, the local cluster with `demo`. Shows errors in one line."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

from fleettui import streams
from fleettui.escape import escape
from fleettui.extras import missing_extra
from fleettui.record.places import found_directory
from registry.errors import FleetError, UserError
from registry.etcd.endpoint import host_and_port
from registry.program.config import THEMES, Settings, chosen_file, load, operator_files, put, put_text, says_where
from registry.program.version import installed_version

EPILOG = """keys: ? shows them all, ctrl+q leaves; the fleet goes on without the console

fleettui join      make machines of hosts, and a fleet where there is none (fleettui join --help)
fleettui token     let a host join that no SSH reaches from here (fleettui token --help)
fleettui leave     make a host of a machine again (fleettui leave --help)
fleettui demo      a local cluster of three real machines to try it on (fleettui demo --help)
fleettui record    keep what changes, for fleettui --at "02:10" (fleettui record --help)
fleettui serve     the console in a browser on this machine (fleettui serve --help)
fleetctl           the same for scripts"""

COMMANDS = {
    "join": "fleettui.install.commands:join",
    "leave": "fleettui.install.commands:leave",
    "token": "fleettui.tokens.commands:token",
    "demo": "fleettui.demo.commands:main",
    "record": "fleettui.record.commands:main",
    "serve": "fleettui.serve:main",
}


def main() -> int:
    """The console script."""
    streams.prepare()
    streams.keep_going()
    try:
        code = run(sys.argv[1:])
    except SystemExit as error:  # argparse, after a help text or an error
        code = error.code if isinstance(error.code, int) else 0
    sys.stdout.flush()
    code, told = streams.ended(code)
    if told:
        print(f"error: {told}", file=sys.stderr)
    return code


def run(argv: Sequence[str]) -> int:
    """Run a command line; its exit code."""
    arguments = list(argv)
    try:
        if place := COMMANDS.get(arguments[0] if arguments else ""):
            module, _, name = place.partition(":")  # imported when asked for: the console does without
            return getattr(import_module(module), name)(arguments[1:])  # type: ignore[no-any-return]
        return _console(parser().parse_args(arguments))
    except (FleetError, ModuleNotFoundError) as error:
        remedy = missing_extra(error)
        if not remedy and not isinstance(error, FleetError):
            raise
        print(f"error: {remedy or escape(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _console(flags: argparse.Namespace) -> int:
    settings = read_settings(flags, os.environ)
    in_browser = "TEXTUAL_DRIVER" in os.environ  # a web server draws the screen
    if not in_browser and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UserError("the console needs a terminal; in scripts use fleetctl")
    from fleettui.console import program  # noqa: PLC0415 - Textual loads only for the console

    local = _local_cluster(settings)
    cluster = escape(settings.console.name) or local or host_and_port(settings.etcd.endpoints[0])[0]
    if flags.at or flags.record:
        known = bool(settings.source or flags.endpoint or says_where(os.environ))
        cluster = cluster if known else "record"  # of which fleet it is, no configuration says
        directory = found_directory(flags.record, os.environ)
        program.run_record(
            settings, cluster=cluster, theme=flags.theme or "", at=flags.at or "now", directory=directory
        )
        return 0
    program.run(
        settings,
        cluster=cluster,
        theme=flags.theme or "",
        read_only=settings.console.read_only,
        fresh=flags.fresh,
        stays_read_only=flags.read_only or ("FLEET_CONSOLE_READ_ONLY" in os.environ and settings.console.read_only),
    )
    if local and not in_browser and "FLEET_CONFIG" not in os.environ:
        from fleettui.demo.advice import demo as advised  # noqa: PLC0415 - at the end, and nowhere else

        print(f"The local cluster is still up. Stop it with: {advised('down', local)}")
    return 0


def read_settings(flags: argparse.Namespace, environ: Mapping[str, str]) -> Settings:
    """File, environment, flags, in this order; the local cluster's file when nothing else is configured."""
    aimed = flags.endpoint or says_where(environ)
    defaults = (*operator_files(environ), *(() if aimed else (_demo_file(),)))
    settings = load(chosen_file(flags.config), environ, defaults)
    if flags.endpoint:
        settings = put_text(settings, "etcd", "endpoints", flags.endpoint, "--endpoint")
    if flags.prefix:
        settings = put(settings, "etcd", "prefix", flags.prefix, "--prefix")
    if flags.read_only:
        settings = put(settings, "console", "read_only", flags.read_only, "--read-only")
    return put(settings, "console", "theme", flags.theme, "--theme") if flags.theme else settings


def _demo_file() -> Path:
    from fleettui.demo.paths import operator_config  # noqa: PLC0415 - light, and beside the point elsewhere

    return operator_config()


def _local_cluster(settings: Settings) -> str:
    """The name of the local cluster that the configuration is of; "" when it is another fleet's."""
    from fleettui.demo.paths import CLUSTERS  # noqa: PLC0415 - light, and beside the point elsewhere

    source = Path(settings.source).absolute()
    if source.parent.parent == CLUSTERS:
        return source.parent.name
    return "demo" if source == _demo_file() else ""


def parser() -> argparse.ArgumentParser:
    """Return the command line, with its help."""
    made = argparse.ArgumentParser(
        prog="fleettui",
        description="The whole fleet, live, in your terminal.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "command", nargs="?", choices=["join", "token", "leave", "demo", "record", "serve"],
        help="join, token, leave: machines; demo: the local cluster; record: for --at; serve: in a browser",
    )  # fmt: skip
    made.add_argument(
        "--config",
        metavar="FILE",
        help="the configuration file (~/.config/fleet/fleet.toml, else /etc/fleet/fleet.toml)",
    )
    made.add_argument("--endpoint", metavar="URL,…", help="etcd's endpoints")
    made.add_argument("--prefix", metavar="KEY", help="the registry's keys lie below it (/fleet/)")
    made.add_argument("--read-only", action="store_true", help="show everything, change nothing")
    made.add_argument("--at", metavar="TIME", help='as it was then: "02:10", "yesterday 02:10", "10 minutes ago"')
    made.add_argument("--record", metavar="DIR", help="where fleettui record keeps what --at shows")
    made.add_argument("--fresh", action="store_true", help="do not open it as it was left")
    made.add_argument("--theme", choices=THEMES, help="dark, light, high contrast, or the terminal's own colours")
    made.add_argument(
        "--version", action="version", version=f"fleettui {installed_version()}", help="print the version"
    )
    return made


if __name__ == "__main__":
    sys.exit(main())

"""`fleetctl`: from a command line to an exit code. Owns the mapping of every error to one line and a number.

Verbs are found by name and imported when they run; a verb returns its exit code.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fleettui import streams
from fleettui.cli.arguments import parse
from fleettui.cli.failures import FAILED, INTERRUPTED, OK, USAGE, UsageError
from fleettui.extras import missing_extra
from fleettui.streams import BROKEN_PIPE
from registry.errors import FleetError, RegistryUnavailable, first_cause
from registry.runtime import logs

if TYPE_CHECKING:
    from argparse import Namespace


def main() -> None:
    """The console script."""
    gc.disable()  # a command lives for a moment; its garbage need not be looked for
    streams.prepare()
    code = guarded(sys.argv[1:])
    # Not sys.exit: nothing is left to be cleaned up, and tearing modules down costs as long as a listing.
    streams.keep_going()  # what was said before an error
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def guarded(argv: list[str]) -> int:
    """Run a command line; whatever happens ends in an exit code, and in a line that says why."""
    debug = "--debug" in argv or os.environ.get("FLEETCTL_DEBUG", "") not in ("", "0", "false")
    try:
        try:
            code = run(argv, debug=debug)
        except SystemExit as error:  # argparse, after a help text
            code = error.code if isinstance(error.code, int) else OK
        sys.stdout.flush()
    except BrokenPipeError:
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BaseException as error:  # noqa: BLE001 - the last resort: no traceback reaches a user
        return explain(error, debug=debug)
    code, told = streams.ended(code)
    if told:
        from fleettui.cli.output import complain  # noqa: PLC0415 - only when needed

        complain(f"Error: {told}")
    return code


def run(argv: list[str], *, debug: bool) -> int:
    """Parse and run. Raises whatever goes wrong."""
    command, flags = parse(argv)
    flags.command, flags.debug = command.name, debug
    if command.changes and not getattr(flags, "follow", False):
        streams.keep_going()
    if debug:
        import logging  # noqa: PLC0415 - loaded only where something is logged

        logging.basicConfig(level=logging.DEBUG, format="%(relativeCreated)d ms %(name)s: %(message)s")
    else:
        logs.silence()  # the programs' libraries log what the user is told anyway
    module, _, name = command.run.partition(":")
    verb: Callable[[Namespace], Any] = getattr(import_module(f"fleettui.cli.{module}"), name)
    running = verb(flags)
    if isinstance(running, int):
        return running
    if command.runs_alone:
        from registry.runtime.waits import NeedsLoop, run_alone  # noqa: PLC0415 - verbs that ask nothing do without

        try:
            return int(run_alone(running))
        except NeedsLoop:  # before anything was asked
            running = verb(flags)
    import asyncio  # noqa: PLC0415 - as short as most commands are, they do without
    import logging  # noqa: PLC0415 - asyncio has loaded it

    if not debug:
        logging.disable(logging.CRITICAL)
    return int(asyncio.run(running))


def explain(error: BaseException, *, debug: bool) -> int:
    """Say on stderr what went wrong and what to do; the exit code."""
    from fleettui.cli.output import complain  # noqa: PLC0415 - only when needed

    error = first_cause(error)
    if debug:
        import traceback  # noqa: PLC0415 - only when asked for

        complain("".join(traceback.format_exception(error)))
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE
    complain(f"Error: {_text(error)}")
    if isinstance(error, UsageError):
        if error.usage:
            complain(error.usage)
        return USAGE
    return FAILED


def _text(error: BaseException) -> str:
    if isinstance(error, RegistryUnavailable):
        from fleettui.escape import clause  # noqa: PLC0415 - only when needed

        remedy = "check that etcd runs, --endpoint and FLEETCTL_ENDPOINT"
        return f"cannot reach the registry: {clause(str(error))}; {remedy}"
    if error is streams.lost():
        return streams.ended(FAILED)[1]
    if isinstance(error, FleetError):
        return str(error)
    if remedy := missing_extra(error):
        return remedy
    if isinstance(error, OSError) and error.strerror:
        name = f" {error.filename}" if error.filename else ""
        return f"{error.strerror}{name}"
    return f"unexpected {type(error).__name__}: {error}; run it again with --debug and report what it shows"


if __name__ == "__main__":
    main()

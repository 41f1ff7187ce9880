"""The log of our daemons, and how they end: one line for everything, with the priority that journald understands.

Under systemd records go to journald's own socket, with fields (`journal`); everything here also works without it.

Text in a record may come from the registry, a unit file or a peer. A line break in it would begin another line,
whose first characters journald reads as a priority (sd-daemon(3)); so would whatever exceeds the longest line that
journald takes (48 KiB). So control characters are shown as escapes and long lines are cut. Tracebacks are for
`--debug` alone; without it an error is named in one line.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TextIO

from registry.errors import FleetError, UserError, first_cause
from registry.messages import ENDED
from registry.program.journal import PRIORITIES, JournalHandler
from registry.program.start_failures import StartFailures

log = logging.getLogger("fleet")

LINE_CHARACTERS = 8000  # of at most four bytes each, and an escape only adds ASCII: below 48 KiB


def set_up(program: str, *, debug: bool) -> None:
    """Log to journald, with fields, where it reads our stderr; for people on stderr elsewhere."""
    journald = is_journal(sys.stderr, os.environ)
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(DaemonFormatter(journald=journald, traces=debug))
    if journald:
        with suppress(OSError):  # a unit that may not see journald's socket: then with priorities alone
            native = JournalHandler(program, handler)
            native.setFormatter(DaemonFormatter(journald=None, traces=debug))
            handler = native
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    log.setLevel(logging.DEBUG if debug else logging.INFO)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.raiseExceptions = debug  # else a record that cannot be written prints a traceback
    logging.captureWarnings(capture=True)
    sys.excepthook = lambda *error: log.critical("ended by", exc_info=error)
    threading.excepthook = lambda it: _log_ignored(f"thread {it.thread and it.thread.name}", it.exc_value)
    sys.unraisablehook = lambda it: _log_ignored(it.err_msg or "an object's end", it.exc_value)


def run(
    program: str,
    work: Callable[[], None],
    say: Callable[[str], None] = lambda _: None,
    failures: StartFailures | None = None,
) -> int:
    """Do the work of a daemon and return its exit status; an error becomes one line on stderr, and goes to `say`.

    0 after an end in order, 1 after an error, 130 after an interrupt. Wrong usage is argparse's, with 2. With
    `failures`, an error that the user has to mend and that was said by the start before this one is waited out.
    """
    try:
        work()
    except KeyboardInterrupt:
        return 130
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001 - the last one who can tell of it in one line
        cause = first_cause(error)
        if isinstance(cause, KeyboardInterrupt):
            return 130
        text = describe_error(cause)
        log.debug("ended by", exc_info=error)
        if failures is not None and isinstance(cause, UserError) and not failures.is_news(text):
            say(f"cannot start: {text}; trying again when the configuration has changed")
            failures.wait(text)
            return 1
        if is_journal(sys.stderr, os.environ):
            log.error("%s: %s", program, text, extra=ENDED.of())  # noqa: TRY400 - no trace
        else:
            sys.stderr.write(f"{program}: {one_line(text)}\n")
        say(f"ended: {text}")
        return 1
    return 0


def describe_error(error: BaseException) -> str:
    """An error in one line. One that nobody foresaw is named with its place in the source."""
    if isinstance(error, FleetError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"unexpected error {type(error).__name__}{where}: {error}; run with --debug for details"


def one_line(text: str, characters: int = LINE_CHARACTERS) -> str:
    """`text` as a single line of at most so many characters, control characters shown as escapes."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:characters])
    return text if len(text) <= characters else f"{text[: characters - 1]}…"


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether this stream goes to journald: JOURNAL_STREAM names its file, and is inherited (systemd.exec(5))."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM", "") == f"{found.st_dev}:{found.st_ino}"


class DaemonFormatter(logging.Formatter):
    """Formats each record as one line; it begins with its priority for journald, with time and level for people.

    `journald` None: with neither, for who tells the priority otherwise.
    """

    def __init__(self, *, journald: bool | None, traces: bool) -> None:
        super().__init__()
        self._journald, self._traces = journald, traces

    def format(self, record: logging.LogRecord) -> str:
        """The record's line; with traces, a line more for each line of its traceback."""
        message = record.getMessage()
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not self._traces:
            message = f"{message.rstrip()}: {describe_error(first_cause(error))}"
        if self._journald is None:
            begin = ""
        elif self._journald:
            begin = f"<{PRIORITIES.get(record.levelno, 6)}>"
        else:
            begin = f"{self.formatTime(record)} {record.levelname} "
        lines = [begin + one_line(message)]
        if self._traces and error is not None:
            trace = "".join(traceback.format_exception(error))
            lines += [begin + one_line(line) for line in trace.splitlines()]
        return "\n".join(lines)


def _log_ignored(where: str, error: BaseException | None) -> None:
    log.error("an error in %s", where, exc_info=error)

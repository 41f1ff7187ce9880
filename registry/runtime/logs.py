"""Loggers that load `logging` when something is logged: a command that has nothing to log does without.

`logging` with what it imports takes as long as a tenth of a short command.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from logging import Logger

_silent = False


def logger(name: str) -> Logger:
    """The logger of this name."""
    found: Any = _LateLogger(name)
    return found  # type: ignore[no-any-return]


def silence() -> None:
    """Let nothing be logged by this program."""
    global _silent  # noqa: PLW0603 - it is the whole program that is told
    _silent = "logging" not in sys.modules
    if not _silent:
        _disable()


def _disable() -> None:
    import logging  # noqa: PLC0415 - see above

    logging.disable(logging.CRITICAL)


def _nothing(*_: object, **__: object) -> None:
    """Log nothing."""


class _LateLogger:
    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:  # noqa: ANN401 - as the logger has it
        global _silent  # noqa: PLW0603 - see silence
        if _silent and "logging" not in sys.modules:
            return _nothing
        import logging  # noqa: PLC0415 - see above

        if _silent:
            _silent = False
            _disable()
        return getattr(logging.getLogger(self._name), attribute)

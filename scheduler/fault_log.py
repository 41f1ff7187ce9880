"""Errors that nobody foresaw, in the work on one thing: told, and kept from ending the work on all others.

Whatever one record makes go wrong would go wrong in the next scheduler, too, and none would be left.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from registry.messages import about

log = logging.getLogger("fleet.scheduler")


class FaultLog:
    """Tells errors in a decision, by what it was on; the same one once."""

    def __init__(self) -> None:
        self._told: dict[str, str] = {}

    def note(self, what: str, error: Exception) -> None:
        """Log an error in a decision on `what`, such as "unit web.service" or "rollout web"."""
        if self._told.get(what) != str(error):
            about_it = about(what.removeprefix("unit ")) if what.startswith("unit ") else None
            text = "internal error in a decision on %s: %s: %s"
            log.error(text, what, type(error).__name__, error, extra=about_it)
            log.debug("where", exc_info=error)
        self._told[what] = str(error)

    @contextmanager
    def contain(self, what: str) -> Iterator[None]:
        """Note what goes wrong in the body, which then ends; the caller goes on."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - see above
            self.note(what, error)

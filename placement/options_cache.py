"""Unit files as decisions need them: which fleet options a unit has, read once for each text.

Owns the cache from a file's hash to its options. A file that is missing or does not parse gives an `OptionsError`,
never an exception: its units wait with that reason, all others go on. That holds for unforeseen errors, too: who
may write a file must not be able to end the scheduler.
"""

from __future__ import annotations

from dataclasses import dataclass

from registry.errors import UserError
from registry.grammar import prose
from registry.units.file import UnitFile, parse
from registry.units.options import FleetOptions, parse_options, uses_specifiers

MAX_REASON = 1000


@dataclass(frozen=True, slots=True)
class OptionsError:
    """Why a unit's options cannot be known; one line for the user."""

    reason: str


class UnitOptionsCache:
    """Unit files by hash. Instances of one template share one reading unless the options use specifiers."""

    def __init__(self) -> None:
        self._texts: dict[str, str | None] = {}
        self._files: dict[str, UnitFile | OptionsError] = {}
        self._shared: dict[str, FleetOptions | OptionsError] = {}

    def put(self, sha256: str, text: str | None) -> None:
        """Add a file; None: its record is corrupt."""
        self.drop(sha256)
        self._texts[sha256] = text

    def drop(self, sha256: str) -> None:
        """Drop a file."""
        self._texts.pop(sha256, None)
        self._files.pop(sha256, None)
        self._shared.pop(sha256, None)

    def options(self, name: str, sha256: str) -> FleetOptions | OptionsError:
        """Return the options of unit `name` with this file."""
        shared = self._shared.get(sha256)
        if shared is not None:
            return shared
        if sha256 not in self._files:
            self._files[sha256] = self._parse(sha256)
        file = self._files[sha256]
        if isinstance(file, OptionsError):
            return file
        try:
            options = parse_options(file, name)
        except Exception as error:  # noqa: BLE001 - see above
            return OptionsError(_one_line(error))
        if not uses_specifiers(file):
            self._shared[sha256] = options
        return options

    def shared(self, sha256: str) -> bool:
        """Whether all units with this file have the options that one of them was found to have."""
        return sha256 in self._shared

    def _parse(self, sha256: str) -> UnitFile | OptionsError:
        text = self._texts.get(sha256)
        if text is None:
            state = "is corrupt" if sha256 in self._texts else "is missing from the registry"
            return OptionsError(f"its unit file {sha256[:7]} {state}; submit it again with --replace")
        try:
            return parse(text)
        except Exception as error:  # noqa: BLE001 - see above
            return OptionsError(_one_line(error))


def _one_line(error: Exception) -> str:
    said = str(error) if isinstance(error, UserError) else f"internal error {type(error).__name__}: {error}"
    return f"its unit file cannot be used: {prose(said[:MAX_REASON].partition(chr(10))[0])}"

"""ASCII where the terminal's locale has no UTF-8: every character that is drawn, as one of as many cells. Pure.

Done at the driver, to all that is written, so that no view has to know of it. A locale that nobody set counts as
UTF-8, as systemd has it; C and POSIX do not when they are set.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

from rich.cells import get_character_cell_size

VARIABLES = ("LC_ALL", "LC_CTYPE", "LANG")  # the first that is set counts: locale(7)
ALIKE = str.maketrans(
    "●○◌◐✖✓▾▸▴◀▶─━═│┃┌┐└┘├┤┬┴┼╭╮╰╯…·→←↑↓▁▂▃▄▅▆▇█▌▐▏▎▍▋▊▉▔■□▪⌕—–“”‘’✗⚠◆▲▼░▒▓╸╺⇧‖•↺↻",  # noqa: RUF001 - drawn by others
    "*o.~xvv>^<>---||+++++++++++++.-><^v_.-=+*%#||||||||^#o./--\"\"''x!*^v:%#--^|*@@",
)


def has_utf8(environ: Mapping[str, str]) -> bool:
    """Whether text may be written in UTF-8."""
    locale = next((found for name in VARIABLES if (found := environ.get(name))), "UTF-8")
    return "utf-8" in locale.lower() or "utf8" in locale.lower()


class _Plain(dict[int, str]):
    """What each character becomes; made when first asked for."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        base = unicodedata.normalize("NFKD", character)[:1]
        cells = get_character_cell_size(character)
        self[code] = base if cells == 1 and base.isascii() else "?" * cells
        return self[code]


_PLAIN = _Plain({code: chr(code) for code in range(128)})
_PLAIN.update({code: chr(plain) for code, plain in ALIKE.items()})


def plain(text: str) -> str:
    """The text in ASCII, as wide as it was."""
    return text if text.isascii() else text.translate(_PLAIN)

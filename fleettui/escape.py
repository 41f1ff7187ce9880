"""Untrusted text made safe for a terminal: what would move the cursor, ring or reorder is shown, not obeyed.

Pure and fast: text that is printable throughout (nearly all of it) is returned as it is after one pass in C.
Journals, unit files, host names and registry values go through here before they reach a screen; the data itself
keeps its bytes. Markup of a widget library is another matter and is not dealt with here.
"""

from __future__ import annotations

import re
from functools import cache

from registry.patterns import pattern

TAB_WIDTH = 8
_MARK = pattern(r"(?<![.\s])[.;:]\s*$")  # an ellipsis stays
_SGR = pattern(r"(\x1b\[[0-9;:]*m)")


def _shown(code: int) -> str:
    """How one dangerous code point is written: a control picture where Unicode has one, else its number."""
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\N{SYMBOL FOR DELETE}"
    if code > 0xFFFF:
        return f"\\U{code:08x}"
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"


_BIDI = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_BREAKS = (0x2028, 0x2029, 0xFEFF)
_UNSEEN = (  # take no room, so that two names look alike; fillers look like nothing
    0xAD, 0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), *range(0x200B, 0x200E),
    *range(0x2060, 0x2066), *range(0x206A, 0x2070), 0x3164, 0xFFA0, *range(0xFFF9, 0xFFFC),
    *range(0x1D173, 0x1D17B), *range(0xE0000, 0xE0080), *range(0xE0100, 0xE01F0),
)  # fmt: skip
_SURROGATES = range(0xD800, 0xE000)  # alone they cannot be encoded


@cache
def _printable() -> re.Pattern[str]:
    """What is not seen although Python says that it can be printed."""
    return re.compile(f"[{''.join(chr(each) for each in _UNSEEN if chr(each).isprintable())}]")


@cache
def _table(*, lines: bool) -> dict[int, str]:
    """How each dangerous code point is written; with `lines`, newlines are none."""
    dangerous = (*range(0x20), *range(0x7F, 0xA0), *_BIDI, *_BREAKS, *_UNSEEN, *_SURROGATES)
    return {code: _shown(code) for code in dangerous if not (lines and code == 0x0A)}


def escape(text: str, *, lines: bool = False) -> str:
    """`text` with every control, direction and unseen character made visible (ESC becomes ␛).

    Tabs become spaces. With `lines`, newlines are kept; otherwise the result is one line.
    """
    if text.isprintable() and (text.isascii() or not _printable().search(text)):
        return text
    if "\t" in text:
        text = text.expandtabs(TAB_WIDTH)
    return text.translate(_table(lines=lines))


def clause(text: str) -> str:
    """A foreign sentence as part of a longer line: without the mark at its end, so that no second one follows."""
    return _MARK.sub("", text)


def escape_keeping_colours(text: str) -> str:
    """`escape` with lines, but colour sequences (ESC [ … m) are left in: for output of systemctl with colours."""
    if "\x1b" not in text:
        return escape(text, lines=True)
    parts = _SGR.split(text)  # odd indexes are the sequences themselves
    return "".join(part if index % 2 else escape(part, lines=True) for index, part in enumerate(parts))

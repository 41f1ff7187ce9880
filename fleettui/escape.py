"""Untrusted text made safe for a terminal: what would move the cursor, ring or reorder is shown, not obeyed.

Pure and fast: text that is printable throughout (nearly all of it) is returned as it is after one pass in C.
Journals, unit files, host names and registry values go through here before they reach a screen; the data itself
keeps its bytes. Markup of a widget library is another matter and is not dealt with here.
"""

from __future__ import annotations

import re

TAB_WIDTH = 8
_MARK = re.compile(r"(?<![.\s])[.;:]\s*$")  # an ellipsis stays
_SGR = re.compile(r"(\x1b\[[0-9;:]*m)")


def _shown(code: int) -> str:
    """How one dangerous code point is written: a control picture where Unicode has one, else its number."""
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\N{SYMBOL FOR DELETE}"
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"


_BIDI = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_BREAKS = (0x2028, 0x2029, 0xFEFF)
_TABLE = {code: _shown(code) for code in (*range(0x20), *range(0x7F, 0xA0), *_BIDI, *_BREAKS)}
_TABLE |= {code: _shown(code) for code in range(0xD800, 0xE000)}  # lone surrogates cannot be encoded
_WITH_LINES = {code: text for code, text in _TABLE.items() if code != 0x0A}


def escape(text: str, *, lines: bool = False) -> str:
    """`text` with every control and direction character made visible (ESC becomes ␛).

    Tabs become spaces. With `lines`, newlines are kept; otherwise the result is one line.
    """
    if text.isprintable():
        return text
    if "\t" in text:
        text = text.expandtabs(TAB_WIDTH)
    return text.translate(_WITH_LINES if lines else _TABLE)


def clause(text: str) -> str:
    """A foreign sentence as part of a longer line: without the mark at its end, so that no second one follows."""
    return _MARK.sub("", text)


def escape_keeping_colours(text: str) -> str:
    """`escape` with lines, but colour sequences (ESC [ … m) are left in: for output of systemctl with colours."""
    if "\x1b" not in text:
        return escape(text, lines=True)
    parts = _SGR.split(text)  # odd indexes are the sequences themselves
    return "".join(part if index % 2 else escape(part, lines=True) for index, part in enumerate(parts))

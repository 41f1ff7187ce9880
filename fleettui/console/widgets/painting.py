"""Styles laid over parts of a strip: what was found, what is selected."""

from __future__ import annotations

from collections.abc import Sequence

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip


def painted(strip: Strip, spans: Sequence[tuple[int, int]], style: Style) -> Strip:
    """The strip with a style over some of its cells (from, to); a `to` of -1 is the end."""
    length = strip.cell_length
    spans = [(first, length if last == -1 else min(last, length)) for first, last in spans]
    cuts = sorted({cut for span in spans for cut in span if 0 < cut < length} | {length})
    if not spans or not length:
        return strip
    parts, start = [], 0
    for part, cut in zip(strip.divide(cuts), cuts, strict=False):
        inside = any(first <= start < last for first, last in spans)
        parts.append(Strip(Segment.apply_style(part, post_style=style), part.cell_length) if inside else part)
        start = cut
    return Strip.join(parts)

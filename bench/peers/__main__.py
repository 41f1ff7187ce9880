"""Our fleet beside Pacemaker and Docker Swarm, each on three real machines: `make bench-peers`.

Boots all of them on this host, measures row by row in turns, prints one table and takes everything away. A peer
whose packages apt cannot provide is left out with a word. "ratio" is our figure as a multiple of the peer's; "!"
marks where the peer is better.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from bench.peers import pacemaker, swarm
from bench.peers.clean import cleaned
from bench.peers.fleet import Fleet
from bench.peers.ours import Ours
from bench.peers.packages import Unavailable, layer
from bench.peers.rows import ROWS, Field, Size
from bench.peers.table import Comparison, Line
from bench.sizes import add_flags, read_flags
from fleettui.demo.requirements import nodes_missing

Note = Callable[[str], None]
PEERS: dict[str, tuple[Sequence[str], Callable[[str, Path], Fleet]]] = {
    "pacemaker": (pacemaker.PACKAGES, pacemaker.Pacemaker),
    "swarm": (swarm.PACKAGES, swarm.Swarm),
}
# The same for every fleet's nodes, whatever this host has: one hierarchy of control groups, of which a node has its
# own, and settings of the network that are a node's own, too.
NSPAWN = {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1", "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network"}


def peers(wanted: Sequence[str], prefix: str, note: Note) -> list[Fleet]:
    """The peers whose packages can be had; of the others it is told why not."""
    found = []
    for name in wanted:
        packages, make = PEERS[name]
        try:
            note(f"{name}: packages {', '.join(packages)} (fetched once)")
            found.append(make(prefix + name[0], layer(packages)))
        except Unavailable as error:
            note(f"{name}: left out: its packages cannot be had: {error}")
    return found


def measure(fleets: Field, size: Size, only: Sequence[str]) -> list[Line]:
    """The rows that are wanted, in order."""
    lines: list[Line] = []
    for name, row in ROWS.items():
        if name in only and fleets.fleets:
            began = time.monotonic()
            for line in row(fleets, size):
                lines.append(line)
                figures = ", ".join(f"{title} {value:.3g} {line.unit}" for title, value in line.values.items())
                fleets.note(f"{line.work}: {figures}")
            fleets.note(f"{name}: {time.monotonic() - began:.0f} s")
    return lines


def compare(fleets: Field, size: Size, only: Sequence[str]) -> Comparison:
    """Boot the fleets, measure. What cannot be booted is told and left out."""
    titles = [fleet.title for fleet in fleets.fleets]
    versions: dict[str, str] = {}

    def boot(fleet: Fleet) -> float:
        fleets.note(f"{fleet.title}: booting")
        fleet.up()
        versions[fleet.title] = fleet.version()
        return 0.0

    fleets.each(boot)
    return Comparison(titles, measure(fleets, size, only), versions)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for. 1 when no machine can be booted here."""
    arguments = _parser().parse_args(argv)
    if missing := nodes_missing():
        print(f"error: cannot boot machines: {'; '.join(missing)}", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.environ |= NSPAWN
    size = read_flags(arguments, Size)
    names = [arguments.name + letter for letter in ("f", *(name[0] for name in PEERS))]
    with tempfile.TemporaryDirectory() as directory, cleaned(names):
        ours = Ours(names[0], size.ttl_s, Path(directory), _note)
        fleets = Field([ours, *peers(arguments.peers, arguments.name, _note)], _note)
        found = compare(fleets, size, arguments.only or tuple(ROWS))
    print(f"{'; '.join(found.versions.values())}\n\n{found.text()}")
    if arguments.json:
        found.write(arguments.json, size=asdict(size), left_out=fleets.failed)
    return 0


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    summary, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=summary, epilog=rest)
    parser.add_argument("--only", nargs="+", choices=ROWS, metavar="ROW", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=tuple(PEERS), help="beside whom (all)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    parser.add_argument("--name", default="peers", help="how the names of the clusters begin (peers)")
    add_flags(parser, Size)
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""What the working fleet costs, on three real machines: `make bench`, or `python -m bench --help`.

Boots a cluster of its own, measures row by row, prints one table and takes the cluster away. Every figure stands
beside what it should reach and a reference taken in the same run: what systemd alone takes for the same work, the
lease that a failover has to wait for, the imports that a command cannot do without.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from bench.nodes import Nodes, Size, Stuck
from bench.nodes_faults import cut_off, handed_over, killed, without_etcd
from bench.nodes_many import many
from bench.nodes_rest import at_rest
from bench.nodes_rollout import rolled
from bench.nodes_start import listing, one_start, whole_command
from bench.report import Figure, table, write_json
from bench.sizes import add_flags, read_flags
from fleettui.demo.cluster import Cluster
from fleettui.demo.requirements import nodes_missing
from registry.errors import FleetError
from tests.cluster.systems import system_of_nodes

Row = Callable[[Nodes, Size], Iterator[Figure]]

ROWS: dict[str, Row] = {  # in an order in which each finds much of what it needs
    "start": one_start,
    "command": whole_command,
    "many": many,
    "roll": rolled,
    "list": listing,
    "rest": at_rest,
    "outage": without_etcd,
    "leave": handed_over,
    "kill": killed,
    "cut": cut_off,
}


def measure(nodes: Nodes, size: Size, only: Sequence[str]) -> list[Figure]:
    """The rows that are wanted, in order; one that cannot be measured is told and left out."""
    figures: list[Figure] = []
    for name, row in ROWS.items():
        if name not in only:
            continue
        began = time.monotonic()
        try:
            figures += row(nodes, size)
        except (Stuck, FleetError) as error:
            nodes.note(f"{name}: cannot be measured: {error}")
        nodes.note(f"{name}: {time.monotonic() - began:.0f} s")
    return figures


def run(cluster: Cluster, size: Size, only: Sequence[str]) -> list[Figure]:
    """Boot the cluster, measure, and take it away whatever happens."""
    try:
        cluster.up()
        with tempfile.TemporaryDirectory() as directory:
            nodes = Nodes(cluster, Path(directory), lambda text: print(text, file=sys.stderr, flush=True))
            nodes.settle()
            return measure(nodes, size, only)
    finally:
        cluster.down()


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for. 1 when something could not be measured at all."""
    arguments = _parser().parse_args(argv)
    if missing := nodes_missing():
        print(f"error: cannot boot machines: {'; '.join(missing)}", file=sys.stderr)
        return 1
    size = read_flags(arguments, Size)
    cluster = Cluster(arguments.name, 3, ttl=f"{size.ttl_s:g}s", system=system_of_nodes())
    figures = run(cluster, size, arguments.only or tuple(ROWS))
    print(table(figures))
    if arguments.json:
        write_json(arguments.json, figures, size=asdict(size))
    return 0 if figures else 1


def _parser() -> argparse.ArgumentParser:
    summary, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(prog="python -m bench", description=summary, epilog=rest)
    parser.add_argument("--only", nargs="+", choices=ROWS, metavar="ROW", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    parser.add_argument("--name", default="bench", help="of the cluster (bench)")
    add_flags(parser, Size)
    return parser


if __name__ == "__main__":
    sys.exit(main())

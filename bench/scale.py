"""What a large fleet costs, with simulated machines: `make bench-scale`, or `python -m bench.scale --help`.

Real: etcd, the scheduler's process, `fleetctl`, every line of registry code, and the half of the agent that speaks
to the registry. Simulated: systemd, for a thousand machines in three processes. Every figure stands beside a
reference of the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import scale_follow, scale_live
from bench.report import Figure, markdown, table, write_json

PARTS = ("decide", "follow", "live")
CHANGES_S = 1000.0


def decide(units: int, machines: int) -> list[Figure]:
    """The pure decision, in a process of its own: what else this one holds must not count."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "figures.json"
        sizes = [f"--units={units}", f"--machines={machines}", f"--json={path}"]
        subprocess.run([sys.executable, "-m", "bench.placement", *sizes], check=True)
        return [Figure(**each) for each in json.loads(path.read_text())]


def measure(options: argparse.Namespace) -> list[Figure]:
    """The parts that are asked for, in order."""
    began = time.monotonic()

    def tell(text: str) -> None:
        sys.stderr.write(f"{time.monotonic() - began:6.1f} s  {text}\n")

    figures: list[Figure] = []
    if "decide" in options.parts:
        tell(f"deciding on {options.known:,} units")
        figures += decide(options.known, options.machines)
    if "follow" in options.parts:
        figures += asyncio.run(
            scale_follow.measure(options.known, options.machines, options.seconds, CHANGES_S, tell)
        )
    if "live" in options.parts:
        size = scale_live.Size(
            options.machines,
            options.lost,
            options.units,
            raw_s=min(3.0, options.seconds),
            rest_s=options.seconds,
            lease_s=options.lease,
        )
        figures += asyncio.run(scale_live.measure(size, tell))
    return figures


def parser() -> argparse.ArgumentParser:
    """The command line; the defaults are the sizes that `docs/performance.md` speaks of."""
    found = argparse.ArgumentParser(
        prog="python -m bench.scale", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("parts", nargs="*", default=PARTS, metavar="PART", help=f"of {', '.join(PARTS)} (all)")
    found.add_argument("--machines", type=int, default=1000, help="machines (1000)")
    found.add_argument("--lost", type=int, default=100, help="machines that are lost at once (100)")
    found.add_argument("--units", type=int, default=10_000, help="units started, and on the lost machines (10000)")
    found.add_argument("--known", type=int, default=100_000, help="units decided on and followed (100000)")
    found.add_argument("--lease", type=float, default=10.0, help="seconds of the machines' leases (10)")
    found.add_argument("--seconds", type=float, default=30.0, help="of rest, and of steady change (30)")
    found.add_argument("--json", type=Path, help="also write the figures there")
    found.add_argument("--markdown", action="store_true", help="print a table for a page")
    return found


def main() -> int:
    """Measure, print the table, write the JSON."""
    options = parser().parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser().error(f"there is no part {', '.join(sorted(unknown))}")
    figures = measure(options)
    sys.stdout.write((markdown if options.markdown else table)(figures) + "\n")
    if options.json:
        sizes = {
            name: getattr(options, name) for name in ("machines", "lost", "units", "known", "lease", "seconds")
        }
        write_json(options.json, figures, sizes=sizes)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Remove what the fleets have put on this host as soon as the one who booted them is gone, however it went.

`python -m bench.peers.clean NAME…` waits for the end of its standard input, which the kernel ends with the process
at the other side, and removes the clusters of these names.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bench.peers.hosts import SIZE
from fleettui.demo.layout import layout
from fleettui.demo.sweep import leftovers, sweep


@contextmanager
def cleaned(names: Sequence[str]) -> Iterator[None]:
    """Nothing of these clusters is left afterwards, also when this process is killed meanwhile."""
    command = [sys.executable, "-m", "bench.peers.clean", *names]
    cleaner = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # past Ctrl-C
    try:
        yield
    finally:
        assert cleaner.stdin is not None
        cleaner.stdin.close()
        cleaner.wait()


def main(names: Sequence[str]) -> int:
    """Wait, remove, and tell what is left; 1 when something is."""
    sys.stdin.read()
    left = []
    for name in names:
        where = layout(name, SIZE)
        sweep(where)
        left += leftovers(where)
    for each in left:
        print(f"left behind: {each}", file=sys.stderr)
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The console, telling when it had its first snapshot of the registry: `python -m bench.console_probe FILE …`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from registry.mirror import Mirror, Snapshot


def main() -> int:
    """Run `fleettui`, and write the moment on the monotonic clock, which all processes share, to the file."""
    path, snapshot = Path(sys.argv[1]), Mirror.snapshot

    def noted(self: Mirror) -> Snapshot:
        made = snapshot(self)
        if made.revision and not path.exists():
            path.write_text(f"{time.monotonic()}")
        return made

    Mirror.snapshot = noted  # type: ignore[method-assign]
    from fleettui.__main__ import run as fleettui  # noqa: PLC0415 - after the patch

    return fleettui(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())

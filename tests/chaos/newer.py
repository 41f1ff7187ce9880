"""One of our programs as a later version of it might be: every record that it writes has a field more.

python newer.py fleet-agentd [ARGUMENT …]
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

sys.path[:] = [each for each in sys.path if each != str(Path(__file__).parent)]  # our neighbours are no modules

from registry import records  # noqa: E402 - the path comes first
from registry.model import UnitText  # noqa: E402

MODULES = {"fleet-agentd": "agentd.__main__", "fleet-scheduler": "scheduler.__main__"}
_encode = records.encode


def encode(record: Any) -> bytes:
    """What the program writes, with what this version does not know."""
    value = _encode(record)
    if isinstance(record, UnitText):
        return value
    data = json.loads(value)
    return json.dumps(data | {"from_a_newer_version": {"since": 2, "list": [None, "x"]}}).encode()


if __name__ == "__main__":
    records.encode = encode
    program = sys.argv[1]
    sys.argv = [program, *sys.argv[2:]]
    sys.exit(importlib.import_module(MODULES[program]).main())

"""Records that nobody should write: for every table something broken, something huge, something newer. Pure.

They stand beside the real records for a while; each names units and machines that exist nowhere else, so that
whatever happens to the real ones because of them is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

GHOST = "0ddba11" + "0" * 25  # a machine id that no machine has
UNIT = "odd.service"
HASH = "0" * 64
HUGE = "1" + "0" * 400
NEWER = '"from_a_newer_version":{"deep":[1,2,{"er":null}]}'

TABLES: dict[str, tuple[str, ...]] = {  # table: its values, without the first brace
    "units": (
        f'"hash":"{HASH}","target":"launched"',
        '"hash":"no hash","target":"launched"',
        '"hash":7,"target":"x"',
    ),
    "pending": ('"hash":"x","generation":1,"summary":"\\u001b[31m"', f'"generation":{HUGE},"hash":"","summary":""'),
    "machines": (
        '"hostname":"a b\\n","address":"$(reboot)","boot_id":"x"',
        '"hostname":"odd","address":"10.0.0.1","boot_id":"b","metadata":[["zone","\\ud800"]]',
        '"hostname":"odd","address":"10.0.0.1","boot_id":"b","ttl_s":1e999',
    ),
    "overrides": ('"availability":"exploded"', '"metadata":[["a"]]', '"availability":"ready"'),
    "states": (
        f'"hash":"{HASH}","generation":1,"since":{HUGE}',
        '"hash":"x","generation":-1',
        '"active":"\\ud800"',
    ),
    "duplicates": ('"hostname":"\\u202e","address":"x"', '"hostname":1'),
    "events": ('"at":1e308,"verb":"y"', '"at":0,"verb":"\\ud800"', '"at":null'),
    "crashes": ('"hostname":"h","lines":[[1,2,3,"",7]]', '"hostname":"h","missing":"\\u001b[2J"'),
    "usage": ('"load":[1]', '"memory_bytes":-1,"at":1e300'),
    "schedule": ('"target":"launched"', f'"hash":"{HASH}","target":"launched","generation":{HUGE}'),
    "files": ("",),
    "rollouts": ('"a table of a newer version":true',),
}
PARTS = {
    "machines": GHOST,
    "overrides": GHOST,
    "usage": GHOST,
    "crashes": f"{GHOST}/1790000000000-{UNIT}",
    "states": f"{GHOST}/{UNIT}",
    "schedule": f"{GHOST}/{UNIT}",
    "duplicates": f"{GHOST}/odd-boot",
    "events": "odd/9999999999999-0dd",
    "files": HASH,
}
GARBAGE = (b"", b"{", b"null", b"[]", b'{"\\ud800":1}', b"\xff\xfe", b"[" * 5000, HUGE.encode(), b'{"hash":1e999}')


def records() -> Iterator[tuple[bytes, bytes]]:
    """Keys below the prefix with their values: each table's odd ones, and keys that are no keys of ours."""
    for table, bodies in TABLES.items():
        for number, body in enumerate(bodies):
            key = f"{table}/{PARTS.get(table, UNIT)}"
            yield (f"{key}{number}" if number else key).encode(), f"{{{body}}}".encode()
        if bodies[0]:
            yield f"{table}/{PARTS.get(table, UNIT)}9".encode(), f"{{{bodies[-1]},{NEWER}}}".encode()
    yield b"units/\xff\xfe", b"{}"
    yield b"states/\xc3/\x28", b"{}"
    yield b"units/../../etc/passwd", b"{}"
    yield b"nothing/that/anybody/knows", b"\x00"


def garbage(random: Random) -> bytes:
    """A value that is no record."""
    return random.choice(GARBAGE)

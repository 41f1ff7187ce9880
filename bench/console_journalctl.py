#!/usr/bin/env python3
"""Stands in for the journalctl of a machine that is not there: talker.service writes 5,000 entries a second.

An sshd with this on its PATH gives the console everything real but the machine behind it, whose journald would
take the processor that is to be measured.
"""  # fmt: skip

from __future__ import annotations

import sys
import time

RATE, STEP_S = 5000, 0.02
ENTRY = (
    '{"__CURSOR":"s=8d6a6f1c0d3e4b5f9a;i=%x;b=5b1f0f4c;m=%x","__REALTIME_TIMESTAMP":"%d","__MONOTONIC_TIMESTAMP":"%d",'
    '"_BOOT_ID":"5b1f0f4c5d6e4f7a8b9c0d1e2f3a4b5c","PRIORITY":"%d","_PID":"4711","SYSLOG_IDENTIFIER":"talker",'
    '"_COMM":"talker","_HOSTNAME":"node00000","_SYSTEMD_UNIT":"talker.service","_SYSTEMD_SLICE":"system.slice",'
    '"MESSAGE":"%d GET /cart/items?page=%d 200 %d ms, upstream payment-%d"}\n'
)


def main() -> None:
    """The newest lines, then with --follow more for ever."""
    follows, talks = "--follow" in sys.argv, "--unit=talker.service" in sys.argv
    out, number = sys.stdout, 0
    if talks and not follows:
        out.write("".join(entry(each) for each in range(200)))
    out.flush()
    began = time.monotonic()
    while follows:
        time.sleep(STEP_S)
        due = int((time.monotonic() - began) * RATE) if talks else 0
        out.write("".join(entry(200 + each) for each in range(number, due)))
        number = due
        out.flush()


def entry(number: int) -> str:
    """One line of JSON, as journalctl writes it."""
    at = time.time_ns() // 1000
    priority = 4 if number % 50 == 0 else 6
    return ENTRY % (number, at, at, number, priority, number, number % 97, number % 31, number % 7)


if __name__ == "__main__":
    try:
        main()
    except (BrokenPipeError, KeyboardInterrupt):
        sys.stderr.close()

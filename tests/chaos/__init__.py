"""The chaos campaign: seeded faults and a busy operator against real machines, and a judge who looks at systemd.

`python -m tests.chaos` runs it. Read in this order: `script` (what will happen, from a seed), `faults` and
`keyboard` (making it happen), `witness` and `history` (what did), `judge` and `settle` (whether that was right).
"""

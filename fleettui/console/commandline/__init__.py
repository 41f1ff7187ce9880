"""The console's command line: what a line means, and what it may become.

`commands` parses a line with `fleetctl`'s own grammar into a command; it does nothing itself. `completion` offers
what the words may become.
"""

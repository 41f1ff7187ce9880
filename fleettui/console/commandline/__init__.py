"""The console's command line: what a line means, what it may become, and what was typed before.

`orders` reads a line with `fleetctl`'s own grammar and says what is to be done; it does nothing itself.
`completion` offers what the words may become, `history` keeps lines between runs.
"""

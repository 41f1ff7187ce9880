"""The record of a fleet: what its registry held at every moment of the last days, kept on one machine's disk.

`recorder` follows the registry and writes, `writer` owns the files, `format` their lines, `reader` gives back what
was at a moment. The console reads it where it reads the live registry otherwise: `console/sources/replay.py`.
"""

"""The agent's decisions, values and words: no clock, no loop, no file, no bus. `make check` holds that."""

"""The fleet in a simulated world: the programs as they are, seeded, on virtual time. See docs/simulation.md."""

"""Where the console gets what it shows: the registry, the machines, their journals, and its own saved state."""

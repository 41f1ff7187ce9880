"""Which machine runs each unit, and why not: the program fleet-scheduler, of which one at a time leads."""

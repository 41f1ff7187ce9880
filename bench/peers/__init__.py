"""Our fleet beside others that start services on several machines: `python -m bench.peers`."""

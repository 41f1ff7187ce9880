"""Everything that an operator touches: the console, fleetctl, SSH to the machines, the local cluster."""

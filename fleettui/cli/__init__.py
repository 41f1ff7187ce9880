"""`fleetctl`: the commands. Owns what is typed and what is printed; what is done lies in `fleettui.actions`."""

"""Making machines of hosts, and hosts of machines again: `fleettui join` and `leave`.

    facts         what a host is, read in one go             plan          what is left to be done: pure
    objections    why a host cannot be a machine: pure       steps         what a step is: data
    archive       programs and libraries for a host          carry_out     steps, done on hosts and registry
    etcd_program  etcd, out of a file or a package           etcd_member   its members, one at a time
    fleet_files   what this laptop keeps of a fleet          leave         the way back
    reach         connections to hosts and other machines    upgrade       another version, and back

The state of an installation is on the hosts and in the registry, nowhere else. Each run reads it, plans what is
missing and does that: an interrupted run is gone on with by the next one, from any laptop that holds the authority.
"""

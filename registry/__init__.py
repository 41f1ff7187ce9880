"""What every program shares.

At the top lies the model, and it is pure: `model` (records as values), `grammar` (what a field may hold), `keys`,
`records` (values to JSON and back), `mirror` (all records as one value), `lifecycle` (where a unit stands),
`leases` (which records vanish with their writer), `errors`.

`units`     unit names and unit files; pure, too
`etcd`      the client of etcd, the only door to it
`sync`      listing and following the registry, its sentinel, history that went back
`program`   configuration, log, notifications to systemd
"""

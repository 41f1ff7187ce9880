"""What every program shares: the model, unit files, eligibility, key layout, the etcd client and its mirror.

Pure modules (`model`, `unitname`, `unitfile`, `unitrules`, `unitcheck`, `fleetoptions`, `eligibility`, `keys`,
`records`, `mirror`, `lifecycle`, `explain`) import no asyncio, clock, random, os, logging or client. `etcd` is
the only door to etcd.
"""

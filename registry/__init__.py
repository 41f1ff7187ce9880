"""What every program shares: the model, unit files, key layout, the etcd client and its mirror.

Pure modules (`model`, `unitname`, `unitfile`, `unitrules`, `unitcheck`, `fleetoptions`, `keys`, `records`,
`mirror`, `lifecycle`) import no asyncio, clock, random, os, logging or client. `etcd` is
the only door to etcd.
"""

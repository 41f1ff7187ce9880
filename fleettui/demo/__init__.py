"""The local cluster: real machines, etcd, agents and schedulers on this host, for the demo and for the tests.

May import: registry's errors, the standard library. Must not import Textual, asyncssh or the etcd client.
"""

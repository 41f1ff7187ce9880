"""Who may do what: the fleet's own certificate authority, and the users, roles and passwords of its etcd.

authority      the authority on the operator's disk, and the leaves that it issues
exchange       what this laptop and a joining host agree on without sending it
rotation       renewing all of it, here and on the machines
grants         users on, roles as `registry.roles` has them, passwords: from nothing, again, and taken back
"""

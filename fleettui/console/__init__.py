"""The full-screen console: what an operator sees of a fleet, and does to it.

Data flows one way: one follower feeds one mirror (`feed`), the newest immutable snapshot goes to the views at most
ten times a second, pure functions (`rows`) turn it into rows, and the table changes only the rows that changed.
Nothing here holds state about the cluster; an action is done when the watch says so.
"""

"""The agent: makes one machine's systemd match its schedule, and reports what it sees.

May import `registry` only. dbus-next is known in `agentd.bus` and `agentd.systemd_connection` alone.
"""

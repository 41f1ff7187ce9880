"""The machines over SSH: commands, unit status, journals, shells, tunnels. The only door to asyncssh.

May import: registry, fleettui.escape, fleettui.journal_entry, asyncssh (behind `client`, loaded at the first
connection). Must not import Textual, the etcd client, fleettui.cli or fleettui.console.

    endpoint     whom we mean                     journal_query   what to ask journalctl for
    login        how to get in                    journal_merge   many machines in order
    identities   the keys that we offer           journal_feed    one machine's part, which resumes
    hostkeys     is it really them                journal         all machines as one stream
    connection   one connection, or one error     command         argument lists, quoted once
    pool         sessions on shared connections   process         a started command, here or there
    pins         the keys they showed before      shell           our terminal on their side
    tunnel       what the jump host sees          here            is it this very host
                                                  journal_history  what came before, and a search through all
"""

from fleettui.journal_entry import JournalEntry, format_short
from fleettui.remote.client import Remote
from fleettui.remote.command import Completed
from fleettui.remote.errors import (
    CommandTimeout,
    HostKeyRefused,
    LinkLost,
    LoginRefused,
    MachineUnreachable,
    RemoteError,
)
from fleettui.remote.here import LocalMachine, own_machine
from fleettui.remote.journal import JournalStream, LinkState, OnDropped, OnLink
from fleettui.remote.journal_history import JournalHistory, Place
from fleettui.remote.journal_query import JournalQuery, JournalSource
from fleettui.remote.pins import Pins

__all__ = [
    "CommandTimeout",
    "Completed",
    "HostKeyRefused",
    "JournalEntry",
    "JournalHistory",
    "JournalQuery",
    "JournalSource",
    "JournalStream",
    "LinkLost",
    "LinkState",
    "LocalMachine",
    "LoginRefused",
    "MachineUnreachable",
    "OnDropped",
    "OnLink",
    "Pins",
    "Place",
    "Remote",
    "RemoteError",
    "format_short",
    "own_machine",
]

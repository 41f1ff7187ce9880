"""The journal pane's model: what is read, kept, filtered, searched and laid out. Pure.

    sources       what is read from where, and the port to it    formatter   items and their fields as cells
    buffer        what is kept, and what of it is shown          title       what is said above the lines
    filters       patterns, include, exclude, priority, since

Entries are untrusted: they are kept as they came, and what a terminal would act on is escaped where they are drawn.
"""

from fleettui.console.journal.sources import (
    Ask,
    FollowedJournal,
    Item,
    JournalPlace,
    Journals,
    LinkNews,
    News,
    PastJournal,
    Remark,
    Wanted,
    hosts_of,
    stem,
    wanted_journals,
)

__all__ = [
    "Ask",
    "FollowedJournal",
    "Item",
    "JournalPlace",
    "Journals",
    "LinkNews",
    "News",
    "PastJournal",
    "Remark",
    "Wanted",
    "hosts_of",
    "stem",
    "wanted_journals",
]

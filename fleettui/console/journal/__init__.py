"""The journal pane's model: what is read, kept, narrowed, searched and laid out. Pure but for `saving`.

    sources     what is read from where, and the door to it     book       what is kept, and what of it is shown
    patterns    words and regular expressions                   layout     shown items as rows of the screen
    narrowing   include, exclude, priority                      scribe     an item as cells
    since       moments as people write them                    fields     an entry's fields as a page
                                                                saving     shown lines as a file

Entries are untrusted: they are kept as they came, and what a terminal would act on is escaped where they are drawn.
"""

from fleettui.console.journal.sources import (
    MAX_SOURCES,
    Ask,
    FollowedJournal,
    Item,
    Journals,
    LinkNews,
    News,
    Remark,
    Wanted,
    hosts_of,
    stem,
    wanted_journals,
)

__all__ = [
    "MAX_SOURCES",
    "Ask",
    "FollowedJournal",
    "Item",
    "Journals",
    "LinkNews",
    "News",
    "Remark",
    "Wanted",
    "hosts_of",
    "stem",
    "wanted_journals",
]

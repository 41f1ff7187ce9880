"""The text of the screen: pages of a unit's and a machine's detail, reviews, help, and the bands. Pure.

    detail         which page a tab shows; status, events      placement    why here, why not there; what if
    dependencies   who needs whom, both directions             review       what a new text would do
    file           the unit file and its versions              bands        header, tabs, footer
    machine        facts, metadata, what a drain moves         help         the keys, made from their table
    rich_text      lines, and where they lead

May import `registry` and the console's own pure modules. Must not import Textual, asyncio or a client.
"""

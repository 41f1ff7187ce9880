"""The pages of a unit's and a machine's detail, one module a tab. Pure: a snapshot in, lines with links out.

    subject        what a page is about, and its tabs      relations      who needs whom, both directions
    passage        lines, and where they lead              dependencies   that, as a page
    status         what systemctl printed                  placement      why here, why not there
    sgr            terminal colours as tones               prospects      what would happen then
    file           the unit file and its versions          machine        facts, metadata
    diff           two texts as one                        drain          what a drain moves, and what blocks it
    events         what happened

May import `registry` and the console's own pure modules. Must not import Textual, asyncio or a client.
"""

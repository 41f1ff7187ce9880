"""The pieces of the screen, on Textual's line API: what they are given they draw, and nothing else.

A widget knows cells, rows and listings; it knows no snapshot, no client and no verb.
"""

"""Rows: what each table shows, as pure functions of a snapshot.

A row is a frozen value with a key that names what it stands for; its cells are made by its columns only when it is
on the screen, with the time as an argument. May import: registry's model and readings, `cells`, `phrases`. Must
not import asyncio, Textual, a clock or a client.
"""

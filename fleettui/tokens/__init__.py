"""Tokens: how a host joins that this laptop does not reach by SSH (docs/adr/0035-tokens.md).

record       a token, a host's request, our answer: what they say, and what of it may be believed. Pure
store        the tokens in the registry: made, claimed, revoked, swept
admission    from a request to an answer: the plan of a join, handed over instead of carried out
on_host      what runs on the host; it is copied, and imports nothing of ours
commands     `fleettui token create | list | approve | revoke`
"""

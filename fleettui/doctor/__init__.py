"""What is wrong with a fleet, and what to do about it: facts are read once, and judged by pure rules.

finding        one thing that was found, how bad it is, and its remedy
facts          all that is looked at, as values
reading        reads it, within a few seconds whatever hangs
etcd, access, fleet, hosts   the judgements; `examine` puts them in order
"""

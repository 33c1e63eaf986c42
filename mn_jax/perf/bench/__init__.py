"""Measures speed: whole networks beside peers, single operations, the input.

What a peer's interpreter runs, `worker` and `peers/`, needs no more than
Python 3.10 and the peer's own packages.
"""

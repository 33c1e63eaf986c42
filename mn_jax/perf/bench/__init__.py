"""Measures speed: networks beside peers, operations, the input, whole runs.

What a peer's interpreter runs, `side_process` and `peers/`, needs no more than
Python 3.10 and the peer's own packages.
"""

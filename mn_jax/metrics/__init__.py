"""Metrics on the host, with intervals and comparisons of networks."""

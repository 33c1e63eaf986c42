"""Weights that others trained: fetched, read and put into networks."""

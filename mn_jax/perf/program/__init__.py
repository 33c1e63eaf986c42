"""Reads compiled programs: what they run, move and send."""

"""Launches training on other machines: one job, described once per engine."""

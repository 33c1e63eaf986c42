"""Starts the trainer on other machines: one job, described once per engine."""

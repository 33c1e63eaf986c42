"""Metric writers, the clock, the console and figures."""

"""Formulations of operations that are fast on CPUs."""

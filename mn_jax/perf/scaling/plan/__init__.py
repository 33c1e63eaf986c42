"""Predicts how training scales over accelerators, without having any."""

"""Predicts how a training step scales over accelerators that are not here."""

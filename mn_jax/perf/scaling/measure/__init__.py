"""Measures how the training step scales over the devices of this machine."""

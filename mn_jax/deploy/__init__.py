"""Trained networks outside of training."""

"""Trained networks that classify new images."""

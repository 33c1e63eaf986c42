"""Saved runs, evaluated on parts of their data and on new images."""

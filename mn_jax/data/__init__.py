"""Data sets: reading, decoding, packing, splitting and feeding. NumPy only."""

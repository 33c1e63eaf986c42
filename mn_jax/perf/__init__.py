"""Measures and predicts speed: benchmarks, and scaling over devices."""

"""Speed: benchmarks and scaling studies."""

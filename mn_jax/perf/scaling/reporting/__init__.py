"""Pages of what was measured and planned."""

"""Small data sets that are generated, for trying things out."""

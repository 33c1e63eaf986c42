"""A network as a LiteRT file: `file` writes and opens it."""

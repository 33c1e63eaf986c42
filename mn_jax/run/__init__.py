"""One run: set-up, files, and opening it again."""

"""Arguments, overrides, errors and exit codes of all programs."""

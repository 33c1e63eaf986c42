"""What all programs share: flags, overrides, errors, exit codes."""

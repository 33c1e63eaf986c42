"""What all programs share: arguments, overrides, errors, exit codes."""

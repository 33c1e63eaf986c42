"""Many runs: studies of claims and sweeps of settings."""

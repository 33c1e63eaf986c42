"""What a network's answers are worth, and whether two networks differ."""

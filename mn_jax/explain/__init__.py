"""What a trained network looks at, and how classes lie in its features."""

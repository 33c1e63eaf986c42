"""What a trained network looks at, and how it arranges images."""

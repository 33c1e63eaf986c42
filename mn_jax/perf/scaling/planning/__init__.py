"""What slices of accelerators would give, without having them."""

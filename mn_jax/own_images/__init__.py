"""A user's own images: what is there, and what to train on them."""

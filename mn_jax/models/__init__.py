"""Network definitions as Flax modules, and the registry that names them."""

"""Array operations with hand-written gradients; no parameters, no state."""

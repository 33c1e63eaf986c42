"""The training loop, the train step, the optimizer and checkpoints."""

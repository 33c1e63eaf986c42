"""The same step in other libraries, one program each, for their interpreters.

A program's `build(case)` makes the step and `side_process.serve` takes it. The
work is the same in all: uint8 images that are on the device already,
normalised; in training a forward pass with batch statistics, the mean
cross-entropy, its gradients, Adam with a learning rate of 1e-4, the running
statistics updated; in inference the probabilities.
"""

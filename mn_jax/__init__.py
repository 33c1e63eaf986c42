"""mn_jax: train and compare MobileNet-family image classifiers in JAX."""

import sys

__version__ = "0.1.0"

# Python sets this while it looks for the program of `python -m`. The imports of
# a program take seconds, in which it can be stopped too.
if sys.argv[:1] == ["-m"]:
  from mn_jax.commandline import signals

  signals.take_over()

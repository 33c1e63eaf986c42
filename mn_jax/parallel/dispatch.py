"""Whether programs on a CPU are dispatched before those before them have ended.

XLA allocates the temporaries of a program when it is dispatched, and on a CPU
may free those of the one before later: two to four sets of them were seen in
memory. Where a program runs in the thread that asks for it, there is one.
"""

import jax

# Pixels of a step from which that costs no time: 16 images of 224 x 224. With
# 32 of 50 x 50 a step takes 3 % longer. Between, unmeasured.
_LONG = 16 * 224**2


def bound_memory(pixels: int) -> None:
  """Makes this process wait for each program on its CPU, if steps are long.

  JAX reads the setting once, when it opens its devices: to be called before
  anything asks for them, without effect later. It leaves alone programs of
  several devices, and all of other devices than CPUs.

  Args:
    pixels: of all images of a step.
  """
  if pixels >= _LONG:
    jax.config.update("jax_cpu_enable_async_dispatch", False)

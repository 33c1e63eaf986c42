"""Array operations with hand-written gradients; no parameters, no state.

Two are for other code bases, too, and need JAX and NumPy alone:
docs/depthwise.md.
"""

from mn_jax.ops.depthwise import depthwise_conv
from mn_jax.ops.drop_in import conv_general_dilated

__all__ = ["conv_general_dilated", "depthwise_conv"]

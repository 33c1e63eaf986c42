"""Folding of BatchNorm into the convolutions before it, for inference.

With running statistics a BatchNorm multiplies every channel by a factor and
adds an offset, which the convolution's kernel and a bias do as well.
"""

import flax.traverse_util
import numpy as np

from mn_jax.models import fake_quant


def fold(variables: dict, *, epsilon: float) -> dict:
  """Folds every BatchNorm of a backbone into the convolution before it.

  Every 'norm' has a 'conv' beside it. The head is not changed. Of a
  fake-quantised network it is the one in float32 that is folded.

  Args:
    variables: 'params' and 'batch_stats' of a network.
    epsilon: of its BatchNorm layers.

  Returns:
    The variables of `registry.build(..., folded=True)`, f32 NumPy arrays.
  """
  variables = fake_quant.without_ranges(variables)
  params = flax.traverse_util.flatten_dict(variables["params"])
  stats = flax.traverse_util.flatten_dict(variables["batch_stats"])
  norms = {p[:-1] for p in stats if p[0] == "backbone"}
  folded = {p: np.asarray(x) for p, x in params.items() if p[:-1] not in norms}
  for norm in norms:
    conv = (*norm[:-1], "conv")
    factor = 1 / np.sqrt(np.asarray(stats[*norm, "var"]) + epsilon)
    if (*norm, "scale") in params:
      factor = factor * np.asarray(params[*norm, "scale"])
    offset = np.asarray(params[*norm, "bias"]) - stats[*norm, "mean"] * factor
    folded[*conv, "kernel"] = folded[*conv, "kernel"] * factor
    if (*conv, "bias") in folded:
      folded[*conv, "bias"] = folded[*conv, "bias"] * factor
    folded[*norm, "bias"] = np.asarray(offset, np.float32)
  rest = {p: x for p, x in stats.items() if p[0] != "backbone"}
  return {
    "params": flax.traverse_util.unflatten_dict(folded),
    "batch_stats": flax.traverse_util.unflatten_dict(rest),
  }

"""Learning rate and weight decay of MobileNetV2 on IDC, on a grid.

  python -m mn_jax.tools.sweep configs/sweeps/idc_v2_learning_rate.py --seeds=3

Around the recipe of `configs/idc_v2.py`, which has 1e-3 and 0.01.
"""

from mn_jax.config import recipes
from mn_jax.studies.sweep import Sweep, grid


def get_sweep() -> Sweep:
  return Sweep(
    title="IDC: learning rate and weight decay of MobileNetV2",
    config="idc_v2",
    points=grid(
      {
        "optim.learning_rate": (3e-4, 1e-3, 3e-3),
        "optim.weight_decay": (0.0, 0.01, 0.1),
      }
    ),
    sample=recipes.IDC_STUDY,
  )

"""What MobileNetV2 is regularised with on IDC, drawn at random.

  python -m mn_jax.tools.sweep configs/sweeps/idc_v2_random.py

The recipe of `configs/idc_v2.py` comes first. A larger count keeps the points
that have been run.
"""

from mn_jax.config import recipes
from mn_jax.studies.sweep import (
  Choice,
  LogUniform,
  Sweep,
  Uniform,
  random_search,
)

_COUNT = 15


def get_sweep() -> Sweep:
  drawn = random_search(
    {
      "optim.learning_rate": LogUniform(1e-4, 1e-2),
      "optim.weight_decay": LogUniform(1e-3, 0.3),
      "model.dropout": Uniform(0.0, 0.5),
      "train.label_smoothing": Choice((0.0, 0.05, 0.1)),
      "augment.stain": Uniform(0.0, 0.1),
      "augment.crop_padding": Choice((0, 4)),
      "augment.mixup": Choice((0.0, 0.2)),
    },
    count=_COUNT,
    seed=0,
  )
  return Sweep(
    title="IDC: regularisation of MobileNetV2",
    config="idc_v2",
    points=({}, *drawn),
    sample=recipes.IDC_STUDY,
  )

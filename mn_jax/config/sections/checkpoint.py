"""Section `checkpoint`: when checkpoints are saved and how many are kept."""

import dataclasses

from mn_jax.config.field import field


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
  """When checkpoints are saved besides the best, and how many are kept."""

  every_steps: int = field(0, "steps between saves", low=0, result=False)
  every_epochs: float = field(1.0, "epochs between saves", low=0, result=False)
  every_examples: int = field(0, "examples between saves", low=0, result=False)
  keep_latest: int = field(
    2, "newest checkpoints kept besides the best", low=1, result=False
  )

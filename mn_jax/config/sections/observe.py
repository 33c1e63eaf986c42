"""Section `observe`: training metrics and profiler traces."""

import dataclasses

from mn_jax.config.field import field


@dataclasses.dataclass(frozen=True)
class ObserveConfig:
  """Training metrics and profiler traces; the training does not change."""

  log_every_steps: int = field(
    20, "steps between training metrics", low=1, later=True
  )
  profile_at_step: int = field(
    0, "step at which a profiler trace starts; 0: none", low=0, result=False
  )
  profile_steps: int = field(5, "steps in the trace", low=1, result=False)

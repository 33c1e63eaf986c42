import jax
import pytest

from mn_jax.perf.bench import own_step, side_process
from tests.perf.bench import toy_case


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("mode", ["train", "infer"])
def test_a_step_runs_and_its_memory_is_estimated(mode):
  case = toy_case.make(model="simple_cnn", resolution=16, batch=2, mode=mode)
  program = own_step.build(case)
  program.run(2)
  assert program.device == jax.devices()[0].device_kind
  assert program.more["estimate"]() > 2 * 16 * 16 * 3


def test_a_resolution_that_is_too_small_is_refused():
  case = toy_case.make(model="simple_cnn", resolution=4)
  with pytest.raises(side_process.RefusedError, match="got 4 pixels"):
    own_step.build(case)

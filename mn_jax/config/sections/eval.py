"""Section `eval`: validation during training."""

import dataclasses

from mn_jax.config.field import field


@dataclasses.dataclass(frozen=True)
class EvalConfig:
  """Validation during training."""

  batch_size: int = field(256, "images per step over all devices", low=1)
  every_steps: int = field(0, "steps between validations", low=0, later=True)
  every_epochs: float = field(
    1.0, "epochs between validations", low=0, later=True
  )
  every_examples: int = field(
    0, "examples between validations", low=0, later=True
  )
  part: str = field(
    "val",
    "part that is evaluated while training and selects the best checkpoint; "
    "'test' repeats papers without a validation part, and leaves no test",
    choices=("val", "test"),
  )
  watch_test: bool = field(
    False,
    "evaluate the test part, too, at every validation; it chooses nothing, and "
    "the summary has what a paper whose test chose the epoch would report",
  )
  best_metric: str = field(
    "auto",
    "metric of that part that selects the best checkpoint; auto: "
    "balanced_accuracy, of several labels per image macro_auroc",
    choices=(
      "auto",
      "balanced_accuracy",
      "accuracy",
      "mcc",
      "auroc",
      "average_precision",
      "f1",
      "macro_auroc",
      "macro_average_precision",
      "macro_f1",
      "micro_average_precision",
      "micro_f1",
      "label_accuracy",
      "exact_match",
      "loss",
    ),
  )

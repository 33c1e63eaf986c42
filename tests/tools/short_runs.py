"""Fields of runs that take two steps of a network that compiles fast."""

TWO_STEPS = {
  "model.name": "simple_cnn",
  "data.image_size": 16,
  "train.epochs": 0.0,
  "train.steps": 2,
  "eval.every_epochs": 0.0,
  "eval.every_steps": 2,
  "checkpoint.every_epochs": 0.0,
  "checkpoint.every_steps": 2,
}

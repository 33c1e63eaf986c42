"""The fields that every `summary.json` has, for summaries that tests make."""

FIELDS = {
  "experiment": "toy",
  "model": "mobilenet_v1",
  "seed": 0,
  "steps": 20,
  "epochs": 2.0,
  "best_step": 10,
  "best_metric": "accuracy",
  "chosen_on": "val",
  "val/count": 9.0,
  "test/count": 9.0,
  "split": "grouped",
  "split_sha256": "5" * 64,
  "images_sha256": "1" * 64,
  "params": 1_234_567,
  "macs": 9_000_000,
  "images_per_sec": None,
  "data_wait_share": None,
  "wall_seconds": 65.0,
  "device": "1 x cpu",
  "versions": {"jax": "1.2.3"},
}

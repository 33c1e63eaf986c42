"""What the pages of docs/benchmarks report: the commands behind each."""

_CPU_PEERS = "--peer=timm-eager,timm-compile,keras-jax,keras-torch,plain-jax"
# Keras and plain JAX take seconds for a step of this size.
_CPU_PEERS_LARGE = "--peer=timm-eager,timm-compile"
_GPU_PEERS = "--peer=timm-eager,timm-compile"
_MOBILENETS = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large")
_SMALL_MOBILENETS = (*_MOBILENETS[:2], "mobilenet_v3_small")


def _networks(
  models: tuple[str, ...], sizes: tuple[tuple[int, int], ...], *rest: str
) -> list[tuple[str, ...]]:
  return [
    (
      f"--model={model}",
      f"--resolution={resolution}",
      f"--batch={batch}",
      f"--mode={mode}",
      *rest,
      "--skip_missing",
    )
    for resolution, batch in sizes
    for model in models
    for mode in ("infer", "train")
  ]


def _operations(
  models: tuple[str, ...], sizes: tuple[tuple[int, int], ...], *rest: str
) -> list[tuple[str, ...]]:
  return [
    (
      "--of=ops",
      f"--model={model}",
      f"--resolution={resolution}",
      f"--batch={batch}",
      *rest,
    )
    for model in models
    for resolution, batch in sizes
  ]


_BF16 = "--dtype=bfloat16"
# Several steps for one wait, as in training.
_STEPS = "--steps_per_turn=10"
_IDC = "--config=configs/idc_v1.py"

# Name of a page -> flags of `tools.bench`, a tuple for each measurement.
CASES: dict[str, list[tuple[str, ...]]] = {
  "cpu": [
    *_networks(_SMALL_MOBILENETS, ((50, 32),), _CPU_PEERS),
    *_networks(_SMALL_MOBILENETS[:2], ((224, 16),), _CPU_PEERS_LARGE),
    *_operations(_SMALL_MOBILENETS[:2], ((50, 32), (224, 16))),
    ("--of=run", f"{_IDC}:sample"),
    ("--of=input", f"{_IDC}:sample"),
  ],
  "gpu": [
    *_networks(
      _MOBILENETS,
      ((224, 256), (224, 1024), (50, 1024), (50, 4096)),
      _BF16,
      _STEPS,
      _GPU_PEERS,
    ),
    *_operations(_MOBILENETS, ((224, 256), (50, 1024)), _BF16),
    (
      "--of=run",
      _IDC,
      "--config.data.placement=device",
      "--config.model.dtype=bfloat16",
    ),
    (
      "--of=run",
      _IDC,
      "--config.data.placement=device",
      "--config.model.dtype=bfloat16",
      "--config.train.replicas=5",
    ),
  ],
}

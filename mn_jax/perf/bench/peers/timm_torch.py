"""PyTorch with timm's networks, eager or through torch.compile."""

import sys
from typing import Any

from mn_jax.perf.bench import side_process

# Name here -> in timm.
NETWORKS = {
  "mobilenet_v1": "mobilenetv1_100",
  "mobilenet_v2": "mobilenetv2_100",
  "mobilenet_v3_small": "mobilenetv3_small_100",
  "mobilenet_v3_large": "mobilenetv3_large_100",
  "mobilenet_v4_conv_small": "mobilenetv4_conv_small",
  "mobilenet_v4_conv_medium": "mobilenetv4_conv_medium",
  "inception_v3": "inception_v3",
  "inception_resnet_v2": "inception_resnet_v2",
  "xception": "legacy_xception",
  "resnet18": "resnet18",
  "resnet34": "resnet34",
  "resnet50": "resnet50",
  "resnet152": "resnet152",
  "vgg16": "vgg16",
}
# What torchvision's wheel registers when it fits the installed torch.
_OPERATORS = (
  "nms",
  "qnms",
  "qroi_align",
  "deform_conv2d",
  "_deform_conv2d_backward",
  "roi_align",
  "_roi_align_backward",
  "roi_pool",
  "_roi_pool_backward",
  "ps_roi_align",
  "_ps_roi_align_backward",
  "ps_roi_pool",
  "_ps_roi_pool_backward",
)


def _import_timm() -> Any:
  """timm, which needs torchvision at import but not for these networks.

  A torchvision that was built for another torch stops at the first of its
  operators that is missing; declared before, they are never called.
  """
  import torch

  try:
    import torchvision  # noqa: F401
  except RuntimeError:
    for name in [n for n in sys.modules if n.startswith("torchvision")]:
      del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    for name in _OPERATORS:
      library.define(f"{name}(Tensor x) -> Tensor")
    # It lives as long as the module that keeps it.
    torch.torchvision_operators = library
  import timm

  return timm


def build(case: side_process.Case) -> side_process.Program:
  """The step in eager mode or compiled, on a GPU if torch has one."""
  import torch
  import torch._inductor.config

  timm = _import_timm()
  side_process.check_network(case, "timm", NETWORKS)
  torch.set_num_threads(case.threads)
  torch.manual_seed(0)
  # As XLA does by default on GPUs, where that is TF32.
  torch.set_float32_matmul_precision("high")
  torch.backends.cudnn.benchmark = True
  device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
  model = timm.create_model(NETWORKS[case.model], num_classes=case.classes)
  layout = (
    torch.channels_last if case.channels_last else torch.contiguous_format
  )
  model = model.to(device).to(memory_format=layout)
  shape = (case.batch, 3, case.resolution, case.resolution)
  images = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
  images = images.contiguous(memory_format=layout)
  labels = torch.randint(0, case.classes, (case.batch,), device=device)

  def constant(values: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(values, device=device).view(1, 3, 1, 1)

  mean = constant(model.default_cfg["mean"])
  std = constant(model.default_cfg["std"])
  lower = case.dtype == "bfloat16"

  def forward(images: torch.Tensor) -> torch.Tensor:
    x = (images.float() / 255 - mean) / std
    with torch.autocast(device.type, torch.bfloat16, enabled=lower):
      return model(x).float()

  def loss_of(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(forward(images), labels)

  def classify(images: torch.Tensor) -> torch.Tensor:
    return torch.softmax(forward(images), dim=1)

  if case.backend == "compile":
    # Inference with constant parameters: BatchNorm is folded, as it is here.
    torch._inductor.config.freezing = case.mode == "infer"
    loss_of = torch.compile(loss_of, dynamic=False)
    classify = torch.compile(classify, dynamic=False)

  train = case.mode == "train"
  model.train(train)
  adam = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)

  def step() -> None:
    if train:
      adam.zero_grad(set_to_none=True)
      loss_of(images, labels).backward()
      adam.step()
    else:
      # Not inference_mode: freezing, which folds BatchNorm, wants no_grad.
      with torch.no_grad():
        classify(images)

  def run(steps: int) -> None:
    for _ in range(steps):
      step()
    if device.type == "cuda":
      torch.cuda.synchronize()

  def device_peak() -> int | None:
    if device.type == "cuda":
      return torch.cuda.max_memory_allocated()
    return None

  return side_process.Program(
    run=run,
    device=torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
    packages=("torch", "timm", "numpy"),
    device_peak=device_peak,
  )


if __name__ == "__main__":
  side_process.serve(build)

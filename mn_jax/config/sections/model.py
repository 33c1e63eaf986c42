"""Section `model`."""

import dataclasses

from mn_jax.config.field import field


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """Which network."""

  name: str = field("mobilenet_v1", "a name in models.registry.MODELS")
  width: float = field(1.0, "width multiplier", low=0.05, high=4)
  head: str = field(
    "own",
    "layers after the last feature map: the network's own, or a name in "
    "models.classifier.HEADS",
  )
  weights: str = field(
    "",
    "file of pretrained weights, .h5 or .safetensors; empty: none",
    result=False,
  )
  transfer: str = field(
    "scratch",
    "scratch: initial values are drawn; fine_tune: they are pretrained and "
    "all trained; frozen: the backbone is a fixed feature extractor",
    choices=("scratch", "fine_tune", "frozen"),
  )
  match_statistics: int = field(
    0,
    "fine_tune: training images from which pretrained running statistics are "
    "taken anew, the network's function unchanged; 0: keep the file's",
    low=0,
  )
  cache_features: bool = field(
    True,
    "compute a frozen backbone's features once, where no augmentation changes "
    "the images",
    result=False,
  )
  resolution: int = field(
    0,
    "input height and width, resized on the device, pixels; 0: as stored",
    low=0,
    high=1024,
  )
  dropout: float = field(0.0, "dropout rate in the head", low=0, high=0.99)
  shallow: bool = field(False, "mobilenet_v1: without five of its blocks")
  separable: bool = field(
    True, "mobilenet_v1: False has full instead of separable convolutions"
  )
  block_dropout: float = field(
    0.0, "mobilenet_v1: dropout rate after every block", low=0, high=0.99
  )
  conv_bias: bool = field(False, "mobilenet_v1: biases before BatchNorm")
  minimalistic: bool = field(
    False, "mobilenet_v3: without squeeze-excite, hard swish and 5x5 kernels"
  )
  stride_in_1x1: bool = field(
    False, "resnet50, resnet152: strides where the paper and Keras have them"
  )
  norm_momentum: float = field(
    0.99,
    "share of the old running statistics that a micro-batch keeps",
    low=0,
    high=0.99999,
  )
  norm_debias: bool = field(
    True, "correct running statistics for their start; False: as Keras"
  )
  norm_over: str = field(
    "batch",
    "images whose mean and variance BatchNorm normalises by in training: all "
    "of a micro-batch; those on one device, which depends on how many there "
    "are; or groups of norm_group",
    choices=("batch", "device", "group"),
  )
  norm_group: int = field(
    0, "norm_over 'group': images of a group, neighbours in a batch", low=0
  )
  dtype: str = field(
    "float32",
    "compute type; parameters and statistics stay float32",
    choices=("float32", "bfloat16"),
  )

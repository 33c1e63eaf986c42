"""Section `model`: the network and how it is initialised."""

import dataclasses

from mn_jax.config.field import field


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """The network, its options and its initial weights."""

  name: str = field("mobilenet_v1", "network, a name in models.registry.MODELS")
  width: float = field(1.0, "width multiplier", low=0.05, high=4)
  head: str = field(
    "own",
    "layers after the last feature map: own, the network's, or a name in "
    "models.classifier.HEADS",
  )
  weights: str = field(
    "",
    "pretrained weights: imagenet, hf:OWNER/NAME[@REVISION] of the Hugging "
    "Face Hub, a file, .h5 or .safetensors, or the folder of a run or of "
    "mn-jax push; empty: none",
    result=False,
    path=True,
  )
  transfer: str = field(
    "scratch",
    "scratch: randomly initialised; fine_tune: pretrained, all parameters "
    "trained; frozen: pretrained, the backbone a fixed feature extractor",
    choices=("scratch", "fine_tune", "frozen"),
  )
  match_statistics: int = field(
    0,
    "fine_tune: training images from which running statistics are recomputed, "
    "with the network's function unchanged; 0: keep the pretrained ones",
    low=0,
  )
  fake_quant: str = field(
    "none",
    "quantisation-aware fine-tuning for int8 files: training and evaluation "
    "round kernels and activations to 8 bits, with fixed running statistics",
    choices=("none", "int8"),
  )
  cache_features: bool = field(
    True,
    "compute a frozen backbone's features once, if there is no augmentation "
    "and no teacher, who sees pixels",
    result=False,
  )
  resolution: int = field(
    0,
    "input height and width, resized on the device, pixels; 0: as stored",
    low=0,
    high=1024,
  )
  train_resolution: int = field(
    0,
    "input height and width in training, pixels; 0: as in evaluation",
    low=0,
    high=1024,
  )
  dropout: float = field(0.0, "dropout rate in the head", low=0, high=0.99)
  drop_path: float = field(
    0.0,
    "networks with residual blocks: stochastic depth, the rate at which an "
    "image skips the last block; it rises linearly from 0 at the first",
    low=0,
    high=0.9,
  )
  shallow: bool = field(False, "mobilenet_v1: 8 of 13 blocks")
  separable: bool = field(
    True, "mobilenet_v1: False has full instead of separable convolutions"
  )
  block_dropout: float = field(
    0.0,
    "mobilenet_v1: dropout rate after the stem and every block",
    low=0,
    high=0.99,
  )
  conv_bias: bool = field(False, "mobilenet_v1: biases before BatchNorm")
  minimalistic: bool = field(
    False, "mobilenet_v3: without squeeze-excite, hard swish and 5x5 kernels"
  )
  stride_in_1x1: bool = field(
    False, "resnet50, resnet152: strides in the 1x1 convolution, as in Keras"
  )
  norm_momentum: float = field(
    0.99,
    "momentum of the running statistics, per micro-batch",
    low=0,
    high=0.99999,
  )
  norm_debias: bool = field(
    True, "debias running statistics as Adam does; False: as Keras"
  )
  norm_over: str = field(
    "batch",
    "images that share BatchNorm's mean and variance in training: a whole "
    "micro-batch; those on one device, which depends on the number of devices; "
    "or groups of norm_group",
    choices=("batch", "device", "group"),
  )
  norm_group: int = field(
    0, "norm_over 'group': images per group, consecutive in a batch", low=0
  )
  dtype: str = field(
    "float32",
    "dtype of computation; parameters and statistics stay float32",
    choices=("float32", "bfloat16"),
  )
  gpu_kernels: str = field(
    "pallas",
    "training in bfloat16 on NVIDIA's GPUs since Ampere: 'pallas' has kernels "
    "that take BatchNorm and activation into the convolutions beside them; "
    "'xla' leaves all to XLA",
    choices=("pallas", "xla"),
  )

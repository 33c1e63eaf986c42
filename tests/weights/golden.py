"""Tensors and images that anybody can compute again, for golden logits.

The files in `torch/` hold logits of networks of timm and torchvision, but no
weights: each tensor of the state dictionary was replaced by `tensor(name,
shape)`, in float32 (int64 for `num_batches_tracked`). The network, built with
1000 classes and without pretrained weights, was set to evaluation mode and
applied on a CPU, with PyTorch 2.13.0 and in float32, to `image(resolution)`
with its axes put into PyTorch's order, [1, 3, resolution, resolution], and
without any preprocessing (torchvision's `inception_v3` with its default,
`transform_input=False`). Dropout and the auxiliary head do nothing then.

`source` is the package and its version; `tensors` are the names and shapes in
the order of the state dictionary, the auxiliary head's among them where the
network has one; `logits` are the first ten of the 1000, by resolution. There
are two resolutions with odd and even maps, but for VGG16 only 224, where its
two packages agree on the head.

In float64 the logits differ by 1.1e-4 at most in MobileNetV3 large and by 5e-5
in the others. Another epsilon of BatchNorm changes them by 7e-3 at least;
exchanged statistics, another padding or another activation by 0.08 at least at
one of the two resolutions.
"""

import hashlib
import json
import math
import pathlib

import numpy as np

FILES = sorted((pathlib.Path(__file__).parent / "torch").glob("*.json"))
# Ours by the libraries' name, where that is another one.
_NAMES = {
  "mobilenetv1_100": "mobilenet_v1",
  "mobilenetv2_100": "mobilenet_v2",
  "mobilenetv3_large_100": "mobilenet_v3_large",
  "mobilenetv3_small_100": "mobilenet_v3_small",
  "mobilenetv4_conv_small": "mobilenet_v4_conv_small",
  "mobilenetv4_conv_medium": "mobilenet_v4_conv_medium",
}
_CHUNK = 2**16  # values made at a time; even, and its words fit a cache


def read(path: pathlib.Path) -> tuple[str, dict]:
  """Returns our name of a file's network, and the file's content."""
  content = json.loads(path.read_text())
  network = content["network"]
  return _NAMES.get(network, network), content


def tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
  """Returns the value of a tensor of a PyTorch state dictionary.

  Args:
    name: its key; what follows the last dot tells kernels from statistics.
    shape: its shape in PyTorch's order: [out, in, height, width] of a
      convolution, [out, in] of a matrix, [channels] of anything else.

  Returns:
    f32[shape], uniform: kernels in +-sqrt(3 gain / fan-in), scales and
    variances of BatchNorm in [0.5, 1.5), biases and means in [-0.2, 0.2). Or
    the int64 scalar 7, a number of batches.

  Raises:
    ValueError: at a name of none of these kinds.
  """
  kind = name.rpartition(".")[2]
  if kind == "num_batches_tracked":
    return np.array(7, np.int64)
  if kind not in ("weight", "bias", "running_mean", "running_var"):
    raise ValueError(f"no values are defined for a tensor named {name}")
  values = _uniform(name, math.prod(shape)).reshape(shape)
  if kind == "weight" and len(shape) > 1:
    limit = math.sqrt(3 * _gain(name, shape) / math.prod(shape[1:]))
    values *= np.float32(limit)
  elif kind in ("bias", "running_mean"):
    values *= np.float32(0.2)
  else:
    values *= np.float32(0.5)
    values += np.float32(1.0)
  return values


def image(resolution: int, name: str = "image") -> np.ndarray:
  """Returns f32[1, resolution, resolution, 3], uniform in [-2, 2).

  Another name gives another image.
  """
  shape = (1, resolution, resolution, 3)
  values = _uniform(f"{name}.{resolution}", math.prod(shape)).reshape(shape)
  return values * np.float32(2.0)


def _gain(name: str, shape: tuple[int, ...]) -> float:
  """Returns the variance of a kernel's values times its fan-in.

  2 keeps the variance from ReLU to ReLU (He et al., arXiv:1502.01852). Less
  where branches are added up, or logits would grow to 1e6; more where hard
  swish and gates near 1/2 would make all images alike. Found by trial: the
  logits of every network spread by 0.3 to 10.
  """
  if name.startswith("layer"):  # the blocks of ResNets
    return 0.7
  if not name.startswith(("blocks.", "features.")) or len(shape) != 4:
    return 2.0
  if name.endswith(".pw_proj.conv.weight"):  # projections of MobileNetV4
    return 0.1
  if ".se." in name or ".fc" in name:  # gates
    return 12.0
  if shape[2:] == (1, 1) and shape[0] < shape[1]:  # other projections
    return 0.6
  if shape[1:] == (1, 5, 5):
    return 5.0
  return 2.0


def _uniform(name: str, count: int) -> np.ndarray:
  """Returns f32[count] in [-1, 1): multiples of 2**-23, keyed by the name.

  Raw words of Philox 4x64, because only they are the same in all versions of
  NumPy: the key is the first half of the name's SHA-256, little-endian; each
  word gives two values, the top 24 bits of its lower and of its upper half.
  """
  key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")
  generator = np.random.Philox(key=key)
  values = np.empty(count, np.float32)
  for start in range(0, count, _CHUNK):
    part = values[start : start + _CHUNK]
    words = generator.random_raw(-(-part.size // 2))
    halves = words.astype("<u8", copy=False).view("<u4")[: part.size]
    part[:] = halves >> np.uint32(8)
  values -= np.float32(2**23)
  values *= np.float32(2**-23)
  return values

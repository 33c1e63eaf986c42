"""Runs networks of Keras Applications, in a process of its own.

`python keras_oracle.py FOLDER` writes for every row of CASES

  NAME.h5         random weights, in the legacy layout, by Keras itself
  NAME_after.h5   the same after a training pass at the first size: other
                  running statistics; for networks in TRAINED
  NAME.npz        for every size the images ('x64') and the logits ('y64')
"""

import os
import pathlib
import sys

os.environ["KERAS_BACKEND"] = "numpy"  # it compiles nothing
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

# Our name, Keras's, arguments, two sizes: odd maps show how it pads.
CASES = (
  ("mobilenet_v1", "MobileNet", {"alpha": 0.5}, (64, 65)),
  ("mobilenet_v2", "MobileNetV2", {"alpha": 0.35}, (64, 50)),
  (
    "mobilenet_v3_large",
    "MobileNetV3Large",
    {"include_preprocessing": False},
    (64, 50),
  ),
  (
    "mobilenet_v3_small",
    "MobileNetV3Small",
    {"include_preprocessing": False},
    (64, 50),
  ),
  (
    "mobilenet_v3_small_minimalistic",
    "MobileNetV3Small",
    {"include_preprocessing": False, "minimalistic": True},
    (64, 50),
  ),
  ("resnet50", "ResNet50", {}, (64, 50)),
  ("resnet152", "ResNet152", {}, (64, 50)),
  ("vgg16", "VGG16", {"include_top": False, "pooling": "avg"}, (64, 50)),
  ("inception_v3", "InceptionV3", {}, (96, 75)),
  ("xception", "Xception", {}, (96, 71)),
  ("inception_resnet_v2", "InceptionResNetV2", {}, (96, 75)),
)
CLASSES = 10
# Networks whose running statistics are compared after a training pass.
TRAINED = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "resnet50")
# Of these, what Keras gives a momentum of 0.999 instead of 0.99.
SLOW = ("mobilenet_v2", "mobilenet_v3_small")
# Variance of a kernel times its fan-in, where sums of many residuals would
# grow with that of He et al.
GAINS = {"resnet50": 0.7, "resnet152": 0.7, "xception": 0.7}


def main(folder: pathlib.Path) -> None:
  import h5py
  import keras
  import numpy as np
  from keras.src.legacy.saving import legacy_h5_format

  def build(keras_name, options, size):
    top = {"classes": CLASSES, "classifier_activation": None}
    make = getattr(keras.applications, keras_name)
    return make(
      weights=None,
      input_shape=(size, size, 3),
      **({} if "include_top" in options else top),
      **options,
    )

  def randomize(model, name, draw):
    """Values that keep the scale of activations, so that logits tell images
    apart and rounding errors do not grow."""
    for layer in model.layers:
      for weight in layer.weights:
        kind, shape = weight.path.rsplit("/", 1)[-1], weight.shape
        if "kernel" in kind:
          depthwise = len(shape) == 4 and shape[-1] == 1 and shape[0] > 1
          fan_in = np.prod(shape[:2] if depthwise else shape[:-1])
          narrows = len(shape) == 4 and shape[:2] == (1, 1)
          narrows = narrows and shape[3] < shape[2]
          gain = GAINS.get(name, 2 - narrows)
          value = draw.normal(size=shape) * np.sqrt(gain / fan_in)
        elif kind in ("gamma", "moving_variance"):
          value = draw.uniform(0.5, 1.5, shape)
        else:
          value = draw.uniform(-0.2, 0.2, shape)
        weight.assign(value.astype(np.float32))

  def images(draw, size):
    x = draw.uniform(-1, 1, (4, size, size, 3))
    x[1::2] += np.linspace(-1, 1, size)[None, :, None]
    x[2:] *= np.linspace(-1, 1, size)[:, None, None]
    return x.astype(np.float32)

  def save(model, path):
    with h5py.File(path, "w") as file:
      legacy_h5_format.save_weights_to_hdf5_group(file, model)

  for name, keras_name, options, sizes in CASES:
    draw = np.random.default_rng(len(name))
    model = build(keras_name, options, sizes[0])
    randomize(model, name, draw)
    x = images(draw, sizes[0])
    save(model, folder / f"{name}.h5")
    found = {f"x{sizes[0]}": x, f"y{sizes[0]}": np.asarray(model(x))}
    other = build(keras_name, options, sizes[1])
    other.set_weights(model.get_weights())
    x1 = images(draw, sizes[1])
    found |= {f"x{sizes[1]}": x1, f"y{sizes[1]}": np.asarray(other(x1))}
    np.savez(folder / f"{name}.npz", **found)
    if name in TRAINED:
      model(x, training=True)
      save(model, folder / f"{name}_after.h5")


if __name__ == "__main__":
  main(pathlib.Path(sys.argv[1]))

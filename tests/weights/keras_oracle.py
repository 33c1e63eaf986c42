"""Runs networks of Keras Applications, in a process of its own.

`python keras_oracle.py FOLDER CASE...` writes for every case of CASES

  CASE.h5         random weights, in the legacy layout, by Keras itself
  CASE.weights.h5, CASE.keras
                  the same in the layouts of Keras 3
  CASE_nested.weights.h5, CASE_nested.keras
                  the same network as one layer of another, before a head of
                  its own; for NESTED, as are the next two
  CASE_rescaled.keras
                  another preprocessing before it
  CASE_bfloat16.keras
                  the same values in bfloat16
  CASE_after.h5   the same after a training pass: other running statistics;
                  for cases in TRAINED
  CASE.npz        images ('x') and logits ('y')
"""

import os
import pathlib
import sys

os.environ["KERAS_BACKEND"] = "numpy"  # it compiles nothing
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

_V3 = {"include_preprocessing": False}
# Our name and the size in pixels -> Keras's name and arguments. Where the size
# of a map decides how it is padded, the first size of a network has odd and
# even ones.
CASES = {
  "mobilenet_v1-65": ("MobileNet", {"alpha": 0.5}),
  "mobilenet_v2-50": ("MobileNetV2", {"alpha": 0.35}),
  "mobilenet_v3_large-50": ("MobileNetV3Large", _V3),
  "mobilenet_v3_small-50": ("MobileNetV3Small", _V3),
  "mobilenet_v3_small_minimalistic-50": (
    "MobileNetV3Small",
    {**_V3, "minimalistic": True},
  ),
  "resnet50-64": ("ResNet50", {}),
  "vgg16-50": ("VGG16", {"include_top": False, "pooling": "avg"}),
  "inception_v3-75": ("InceptionV3", {}),
  "xception-96": ("Xception", {}),
  "inception_resnet_v2-75": ("InceptionResNetV2", {}),
}
# The same networks at other sizes, and the largest.
MORE_CASES = {
  "mobilenet_v1-64": CASES["mobilenet_v1-65"],
  "mobilenet_v2-64": CASES["mobilenet_v2-50"],
  "mobilenet_v3_large-64": CASES["mobilenet_v3_large-50"],
  "mobilenet_v3_small-64": CASES["mobilenet_v3_small-50"],
  "resnet50-50": CASES["resnet50-64"],
  "resnet152-64": ("ResNet152", {}),
  "vgg16-64": CASES["vgg16-50"],
  "inception_v3-96": CASES["inception_v3-75"],
  "xception-71": CASES["xception-96"],
  "inception_resnet_v2-96": CASES["inception_resnet_v2-75"],
}
CLASSES = 10
# Cases whose running statistics are compared after a training pass.
TRAINED = (
  "mobilenet_v1-65",
  "mobilenet_v2-50",
  "mobilenet_v3_small-50",
  "resnet50-64",
)
# Of these, what Keras gives a momentum of 0.999 instead of 0.99.
SLOW = ("mobilenet_v2-50", "mobilenet_v3_small-50")
# Variance of a kernel times its fan-in, where sums of many residuals would
# grow with that of He et al.
NESTED = "mobilenet_v1-65"
GAINS = {"resnet50": 0.7, "resnet152": 0.7, "xception": 0.7}


def main(folder: pathlib.Path, cases: list[str]) -> None:
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

  def save_nested(model, path, options, size):
    layers = keras.layers
    base = build("MobileNet", {**options, "include_top": False}, size)
    base.set_weights([w.numpy() for w in model.weights[: len(base.weights)]])
    new = [layers.GlobalAveragePooling2D(), layers.Dense(3)]
    image = layers.Input((size, size, 3))
    nested = keras.Sequential([image, layers.RandomFlip(), base, *new])
    nested.save(f"{path}_nested.keras")
    nested.save_weights(f"{path}_nested.weights.h5")
    scaled = [image, layers.Rescaling(1 / 255), base, *new]
    keras.Sequential(scaled).save(f"{path}_rescaled.keras")
    keras.config.set_dtype_policy("bfloat16")
    narrow = build("MobileNet", options, size)
    keras.config.set_dtype_policy("float32")
    for weight, value in zip(narrow.weights, model.weights, strict=True):
      weight.assign(value)
    narrow.save(f"{path}_bfloat16.keras")

  for case in cases:
    keras_name, options = (CASES | MORE_CASES)[case]
    name, size = case.split("-")
    draw = np.random.default_rng(len(name))
    model = build(keras_name, options, int(size))
    randomize(model, name, draw)
    x = images(draw, int(size))
    save(model, folder / f"{case}.h5")
    model.save(folder / f"{case}.keras")
    model.save_weights(folder / f"{case}.weights.h5")
    if case == NESTED:
      save_nested(model, folder / case, options, int(size))
    np.savez(folder / f"{case}.npz", x=x, y=np.asarray(model(x)))
    if case in TRAINED:
      model(x, training=True)
      save(model, folder / f"{case}_after.h5")


if __name__ == "__main__":
  main(pathlib.Path(sys.argv[1]), sys.argv[2:])

"""Keras Applications on JAX or PyTorch, through Keras's own batch methods."""

import os

from mn_jax.perf.bench import side_process

# Name here -> in keras.applications.
NETWORKS = {
  "mobilenet_v1": "MobileNet",
  "mobilenet_v2": "MobileNetV2",
  "mobilenet_v3_small": "MobileNetV3Small",
  "mobilenet_v3_large": "MobileNetV3Large",
  "inception_v3": "InceptionV3",
  "inception_resnet_v2": "InceptionResNetV2",
  "xception": "Xception",
  "resnet50": "ResNet50",
  "resnet152": "ResNet152",
  "vgg16": "VGG16",
}


def build(case: side_process.Case) -> side_process.Program:
  """`train_on_batch` or `predict_on_batch`, with the backend's own arrays."""
  side_process.check_network(case, "keras.applications", NETWORKS)
  os.environ["KERAS_BACKEND"] = case.backend
  import numpy as np

  if case.backend == "torch":
    import torch

    torch.set_num_threads(case.threads)
    torch.set_float32_matmul_precision("high")
    gpu = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if gpu else "cpu"

    def device_peak() -> int | None:
      return torch.cuda.max_memory_allocated() if gpu else None
  else:
    import jax

    first = jax.devices()[0]
    device = first.device_kind

    def device_peak() -> int | None:
      return side_process.peak_device_memory(first)

  import keras

  if case.dtype == "bfloat16":
    keras.config.set_dtype_policy("mixed_bfloat16")
  shape = (case.resolution, case.resolution, 3)
  options = {"include_preprocessing": False} if "_v3_" in case.model else {}
  try:
    network = getattr(keras.applications, NETWORKS[case.model])(
      input_shape=shape,
      weights=None,
      classes=case.classes,
      classifier_activation=None,
      **options,
    )
  except ValueError as error:  # an input that is too small for it
    raise side_process.RefusedError(" ".join(str(error).split())) from None
  pixels = keras.Input(shape, dtype="uint8")
  logits = network(keras.layers.Rescaling(1 / 127.5, offset=-1)(pixels))
  logits = keras.layers.Activation("linear", dtype="float32")(logits)
  if case.mode == "infer":
    logits = keras.layers.Softmax(dtype="float32")(logits)
  model = keras.Model(pixels, logits)
  model.compile(
    optimizer=keras.optimizers.Adam(1e-4),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    jit_compile=case.backend == "jax",
  )
  draw = np.random.default_rng(0)
  images = keras.ops.convert_to_tensor(
    draw.integers(0, 256, (case.batch, *shape), np.uint8)
  )
  labels = keras.ops.convert_to_tensor(
    draw.integers(0, case.classes, case.batch, np.int32)
  )

  def run(steps: int) -> None:
    # Both return host values: they wait for the device.
    for _ in range(steps):
      if case.mode == "train":
        model.train_on_batch(images, labels)
      else:
        model.predict_on_batch(images)

  return side_process.Program(
    run=run,
    device=device,
    packages=("keras", "jax" if case.backend == "jax" else "torch", "numpy"),
    device_peak=device_peak,
  )


if __name__ == "__main__":
  side_process.serve(build)

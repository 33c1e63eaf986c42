"""What an exported file is: its format, precision, input and batch."""

import dataclasses

# Format -> suffix of its files.
FORMATS = {"litert": ".tflite", "onnx": ".onnx", "stablehlo": ".stablehlo"}

# float16, int8_weights: kernels are stored so, products are in float32.
# int8_full: activations are 8-bit integers too, by ranges that calibration
# images have.
PRECISIONS = ("float32", "float16", "int8_weights", "int8_full")
# Format -> those that its files can have.
PRECISIONS_OF = {
  **dict.fromkeys(("litert", "onnx"), PRECISIONS),
  "stablehlo": ("float32", "float16", "int8_weights"),
}

# pixels: u8 RGB in [0, 255], resized and normalised inside.
# normalised: f32, as the network itself takes them.
INPUTS = ("pixels", "normalised")

# Names of a file's outputs, in this order.
OUTPUTS = ("probabilities", "logits")


@dataclasses.dataclass(frozen=True)
class Options:
  """How a network is exported.

  Attributes:
    precision: a name in PRECISIONS.
    batch: number of images of a call; None for any number.
    input: a name in INPUTS.
    size: height and width of the images that it takes, in pixels; None for any.
      They are resized and cropped inside as those of training were. A file of
      the size of `Trained.image_size` squared takes them as ready, which is
      what `Trained.fit_image` makes. Of 'normalised' input it is the network's
      resolution.
  """

  precision: str = "float32"
  batch: int | None = None
  input: str = "pixels"
  size: tuple[int, int] | None = None

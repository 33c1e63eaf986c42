"""A network with its weights, and how images are made ready for it.

It comes from a run, from a file of published weights, or is randomly
initialised.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np

from mn_jax.data import decode, resizing
from mn_jax.errors import InputError
from mn_jax.models import registry, variables
from mn_jax.observe import formatting
from mn_jax.run import reopen
from mn_jax.weights import exported, imagenet, locate
from mn_jax.weights import pretrained as pretrained_lib

_VALID = 12  # classes that an error names
_CLASS = str | int | np.integer


@dataclasses.dataclass(frozen=True)
class Trained:
  """A network with its weights, and how images are made ready for it.

  Attributes:
    network: its definition.
    variables: 'params' and 'batch_stats', f32 NumPy arrays.
    classes: names of the classes, in the order of the logits.
    image_size: height and width r that images are made to have, in pixels.
    resolution: the network's input size, resized on the device, in pixels; 0:
      that of the images.
    dtype: 'float32' or 'bfloat16', what it was trained to compute in.
    read_image: decodes an image file into u8[r, r, 3]; raises a DecodeError.
    fit_image: makes u8[r, r, 3] of a decoded image u8[h, w, 3].
    crop: share of an image's short side that the middle square has which is
      cropped; None: images are resized without regard to their aspect ratio.
    interpolation: of that resize: 'bilinear' or 'bicubic'.
    multi_label: whether an image may have several labels.
    bits: that 16-bit grey images use, as `decode.decode` takes them.
    random: what is randomly initialised: '', 'head' or 'network'.
    note: what its user should know of it, or ''.
  """

  network: registry.Network
  variables: dict
  classes: tuple[str, ...]
  image_size: int
  resolution: int
  dtype: str
  read_image: Callable[[bytes], np.ndarray]
  fit_image: Callable[[np.ndarray], np.ndarray]
  crop: float | None
  interpolation: str = "bilinear"
  multi_label: bool = False
  bits: int = 16
  random: str = ""
  note: str = ""

  def class_indices(
    self, classes: str | int | Sequence[str | int] | None, count: int
  ) -> np.ndarray | None:
    """Returns the class that is chosen for each of some images.

    Args:
      classes: one for all images or one for each, by name or index; None for
        no choice.
      count: number of images.

    Returns:
      i32[count], indices of the classes; None without a choice.

    Raises:
      InputError: for a class that there is not, or another number of them.
    """
    if classes is None:
      return None
    listed = [classes] if isinstance(classes, _CLASS) else list(classes)
    indices = []
    for value in listed:
      index = value
      if isinstance(value, bool) or not isinstance(value, _CLASS):
        raise InputError(
          f"classes: got {value!r} of type {type(value).__name__}; valid: "
          "names or indices"
        )
      if isinstance(value, str):
        if self.classes.count(value) != 1:
          raise InputError(
            f"classes: got {value!r}; valid: {_some(self.classes)}, or an "
            "index where several have the name"
          )
        index = self.classes.index(value)
      if not 0 <= index < len(self.classes):
        last = len(self.classes) - 1
        raise InputError(f"classes: got {value}; valid: 0 to {last}")
      indices.append(index)
    if len(indices) not in (1, count):
      raise InputError(
        f"classes: got {len(indices)} for {formatting.count(count, 'image')}; "
        "valid: one for all, or one for each"
      )
    return np.resize(np.array(indices, np.int32), count)


def from_run(run: reopen.SavedRun) -> Trained:
  """The network of an opened run, which sees images as in training.

  Images of sizes that training dropped are resized, without regard to their
  aspect ratio.

  Raises:
    InputError: if it saw images that no single image can be made like.
  """
  run.check_single_images()
  return Trained(
    network=run.network,
    variables=run.variables,
    classes=run.classes,
    image_size=run.config.data.image_size,
    resolution=run.config.model.resolution,
    dtype=run.config.model.dtype,
    read_image=run.read_image,
    fit_image=run.fit_image,
    crop=_crop(run.config.data.other_sizes, run.config.data.crop_share),
    multi_label=run.multi_label,
    bits=run.config.data.bits,
  )


def _crop(other_sizes: str, crop_share: float) -> float | None:
  """`Trained.crop` of fields of a config's section `data`."""
  return crop_share if other_sizes == "crop" else None


def from_export(name: str) -> Trained | None:
  """Loads what `mn-jax push` wrote: a network that needs no other description.

  Args:
    name: of the weights, as `weights.locate.resolve` takes it: a folder or
      'hf:OWNER/NAME@REVISION'.

  Returns:
    The network; None if its weights have no description of this package.

  Raises:
    InputError: if the files are not to be had, or damaged.
  """
  if name == locate.IMAGENET:  # of which network, it does not say
    return None
  located = locate.resolve(name, network="")
  found = exported.read(located.path)
  if found is None:
    return None
  described, values = found
  size, other_sizes = described.image_size, described.other_sizes
  share = described.crop_share
  return Trained(
    network=described.network,
    variables=values,
    classes=described.classes,
    image_size=size,
    resolution=described.resolution,
    dtype=described.dtype,
    read_image=functools.partial(
      resizing.decode_and_fit,
      size=size,
      other_sizes=other_sizes,
      bits=described.bits,
      crop_share=share,
    ),
    fit_image=functools.partial(
      resizing.fit, size=size, other_sizes=other_sizes, crop_share=share
    ),
    crop=_crop(other_sizes, share),
    multi_label=described.multi_label,
    bits=described.bits,
    note=located.note,
  )


def from_weights(
  path: str, network: registry.Network, *, classes: Sequence[str] = ()
) -> Trained:
  """Loads a network with published weights, which sees the centre of images.

  What `mn-jax push` wrote sees them as it has seen them in training. A
  classifier of one logit gets two classes: the sigmoid of the logit is the
  probability of the second.

  Args:
    path: the weights, as `weights.pretrained.load` takes them.
    network: the network that they are of; the number of classes is taken from
      the file.
    classes: their names, in the order of the logits; () for those of the file,
      of ImageNet, or numbers.

  Raises:
    InputError: if the file does not fit, has no classifier or one that is not
      the network's own, if it has another number of classes than names, or if
      it names its classes otherwise.
  """
  loaded = pretrained_lib.load(path, network)
  if (pushed := _pushed(path, loaded)) is not None:
    if classes and tuple(classes) != pushed.classes:
      raise InputError(
        f"--classes: got {_some(classes)}; valid: {_some(pushed.classes)}, in "
        f"this order, as {path!r} has them, or none"
      )
    return pushed
  origin, count = loaded.origin, loaded.origin.num_classes
  if origin.head_problem:
    raise InputError(
      f"model.weights: got {path!r}, whose head is not that of {network.name} "
      f"({origin.head_problem}); valid: a file with the network's own head, or "
      "training, which replaces the head (model.transfer)"
    )
  if not count:
    raise InputError(
      f"model.weights: got {path!r}, which has no classifier; valid: a file "
      "with the top layers"
    )
  names = tuple(classes) or loaded.class_names or class_names(count)
  if len(names) != count:
    raise InputError(
      f"--classes: got {len(names)} names; valid: {count}, as {path!r} has "
      "classes"
    )
  trained = with_head(loaded, names)
  notes = [origin.note]
  if origin.one_logit:
    notes.append(
      f"{origin.file} has one logit; its sigmoid is the probability of "
      f"{names[1]!r}"
    )
  return dataclasses.replace(trained, note="; ".join(filter(None, notes)))


def backbone_of(
  name: str,
  network: registry.Network,
  classes: tuple[str, ...] | None,
  *,
  seed: int,
) -> Trained:
  """Loads weights for any classes, which may get a random classifier.

  What `mn-jax push` wrote sees images as it has seen them in training.

  Args:
    name: of the weights, as `weights.pretrained.load` takes it.
    network: that they are of.
    classes: their names; None for those of the file, or of the network if it
      has none.
    seed: of initial values.

  Raises:
    InputError: if the weights are not found or do not fit.
  """
  loaded = pretrained_lib.load(name, network)
  pushed = _pushed(name, loaded)
  if pushed is not None and classes in (None, pushed.classes):
    return pushed
  count = loaded.origin.num_classes or network.num_classes
  names = classes or loaded.class_names or class_names(count)
  loaded = pretrained_lib.for_classes(loaded, names)
  made = with_head(loaded, names, seed)
  if pushed is not None:
    made = dataclasses.replace(
      pushed,
      network=made.network,
      variables=made.variables,
      classes=names,
      multi_label=False,
      random=made.random,
    )
  return dataclasses.replace(made, note=loaded.origin.note)


def _pushed(name: str, loaded: pretrained_lib.Pretrained) -> Trained | None:
  """The network of loaded weights as it was pushed; None if it was not."""
  return from_export(name) if loaded.classes else None


def with_head(
  loaded: pretrained_lib.Pretrained, classes: tuple[str, ...], seed: int = 0
) -> Trained:
  """Loaded weights with a classifier of these classes.

  Where the file has no classifier of their number, it is randomly initialised.

  Args:
    loaded: from `weights.pretrained.load`.
    classes: their names.
    seed: of initial values.
  """
  network = dataclasses.replace(
    loaded.network, num_classes=len(classes), head="own"
  )
  trained = initial(network, classes, seed=seed)
  return dataclasses.replace(
    trained,
    variables=pretrained_lib.insert(
      dataclasses.replace(loaded, network=network), trained.variables
    ),
    random="head" if loaded.origin.num_classes != len(classes) else "",
  )


def initial(
  network: registry.Network, classes: tuple[str, ...], *, seed: int
) -> Trained:
  """A randomly initialised network, which sees the centre of images."""
  conventions = network.conventions

  def fit_image(image: np.ndarray) -> np.ndarray:
    return resizing.resize_and_crop(
      image,
      conventions.resolution,
      share=conventions.crop,
      interpolation=conventions.interpolation,
    )

  return Trained(
    network=network,
    variables=variables.initial_values(
      registry.build(network), conventions.resolution, seed=seed
    ),
    classes=classes,
    image_size=conventions.resolution,
    resolution=0,
    dtype="float32",
    read_image=lambda data: fit_image(decode.decode(data)),
    fit_image=fit_image,
    crop=conventions.crop,
    interpolation=conventions.interpolation,
    random="network",
  )


def _some(classes: Sequence[str]) -> str:
  """Names classes in an error; of many the first."""
  listed = ", ".join(classes[:_VALID])
  if len(classes) > _VALID:
    listed += f", ... ({len(classes)} in all, as Model.classes has)"
  return listed


def class_names(count: int) -> tuple[str, ...]:
  """The names of ImageNet's classes, or numbers if they are not as many."""
  names = tuple(imagenet.names())
  if count == len(names):
    return names
  return tuple(f"class {i}" for i in range(count))

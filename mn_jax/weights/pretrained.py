"""Loading of pretrained weights: read, matched, checked, converted.

Keras files are matched by the order of the model's layers, because released
files name them differently; torch files by name. Every tensor's kind and shape
is compared, and all that differ are reported at once. With the weights come
the preprocessing and layer settings of those who trained them: see `sources`.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import flax.traverse_util
import numpy as np

from mn_jax.errors import InputError
from mn_jax.models import counting, registry
from mn_jax.weights import (
  exported,
  files,
  keras_files,
  keras_layout,
  locate,
  sources,
  torch_tensors,
)
from mn_jax.weights.listing import published_layers

# A file of another network has hundreds of tensors that do not fit.
_MOST_PROBLEMS = 12
_NARROW = "values of 16 bits are converted to float32"

Tensors = dict[str, np.ndarray]  # 'backbone/stem/conv/kernel' -> value


@dataclasses.dataclass(frozen=True)
class Origin:
  """The file that weights were loaded from.

  Attributes:
    file: name of the file.
    sha256: of its bytes.
    source: 'keras', 'timm', 'torchvision', 'mn_jax' or 'run'.
    num_classes: of its classifier, 2 if that has one logit; 0 if there is
      none, or none that fits.
    one_logit: whether its classifier has one logit, z, which is read as the
      two logits (0, z): the second class has the probability sigmoid(z).
    head: the head that its layers are of, as `Network.head`.
    head_problem: why its head cannot be used, so that a new one is needed; ''
      if it can, or there is none.
    name: by which it was asked for: 'imagenet', 'hf:OWNER/NAME', or a path.
    revision: commit of the hub's repository; '' for other files.
    note: what its user should know of it, or ''.
  """

  file: str
  sha256: str
  source: str
  num_classes: int
  one_logit: bool = False
  head: str = "own"
  head_problem: str = ""
  name: str = ""
  revision: str = ""
  note: str = ""

  def described(self) -> str:
    """Names the file, where it came from and its digest, in one line."""
    asked = self.name if self.revision else ""
    place = f"{asked} at commit {self.revision[:12]}: " if asked else ""
    return f"{place}{self.file} ({self.source}, sha256 {self.sha256[:16]})"


@dataclasses.dataclass(frozen=True)
class Pretrained:
  """Weights that were loaded from a file, for a network.

  Attributes:
    network: the requested network, with the conventions of the file.
    tensors: f32 parameters and running statistics by path.
    origin: the file.
    class_names: of its classifier, in the order of the logits; () if the file
      does not have them.
    classes: the same, of what this package has trained, as the data set names
      them; () for others, who may name the same classes differently.
  """

  network: registry.Network
  tensors: Tensors
  origin: Origin
  class_names: tuple[str, ...] = ()
  classes: tuple[str, ...] = ()


def load(
  name: str, network: registry.Network, *, revision: str = ""
) -> Pretrained:
  """Loads pretrained weights for a network.

  Args:
    name: as `locate.resolve` takes it: 'imagenet', 'hf:OWNER/NAME@REVISION', or
      the path of a .h5 file of Keras Applications or a .safetensors file of
      timm or torchvision; a config.json of timm beside it gives the
      preprocessing.
    network: that the weights are for. Its classes and its head may differ from
      the file's.
    revision: commit that a name on the hub was resolved to before; ''
      to resolve it now.

  Raises:
    InputError: if the file is not to be had, cannot be read or does not fit.
  """
  located = locate.resolve(
    name,
    network.name,
    width=network.width,
    minimalistic=network.options.minimalistic,
    revision=revision,
  )
  file, read = located.path, _read(located.path, network)
  described, num_logits = read.network, read.num_logits
  # The network as the file has it: with its own head, if the file has one.
  layers = published_layers(
    dataclasses.replace(described, head="own", num_classes=num_logits or 1)
  )
  if not num_logits:  # timm's features have the layers before them
    layers = [layer for layer in layers if layer.path != "head/logits"]
  tensors, problems, head_problem = _fit(
    layers, read.content, read.convert, read.separate_head
  )
  for key, value in tensors.items():
    if not np.isfinite(value).all():
      problems.append(f"{key} has values that are not finite")
    elif key.endswith("/var") and (value < 0).any():
      problems.append(f"{key} has negative values")
  if problems:
    raise InputError(
      f"model.weights: got {str(file)!r}, which does not fit {network.name} at "
      f"width {network.width:g}, {len(problems)} times: {_listed(problems)}; "
      "valid: weights of this network"
    )
  one_logit = num_logits == 1 and not head_problem
  if one_logit:
    for key in ("head/logits/kernel", "head/logits/bias"):
      tensors[key] = np.append(0 * tensors[key], tensors[key], axis=-1)
  origin = Origin(
    file.name,
    files.sha256(file),
    read.source,
    num_classes=0 if head_problem else num_logits + one_logit,
    one_logit=one_logit,
    head_problem=head_problem,
    name=located.name,
    revision=located.revision,
    note="; ".join(filter(None, (located.note, *read.notes))),
  )
  names = sources.class_names(file.with_name(sources.CONFIG))
  if len(names) != origin.num_classes:
    names = ()
  ours = exported.describe(file)
  classes = () if ours is None else ours.classes
  return Pretrained(described, tensors, origin, names, classes)


@dataclasses.dataclass(frozen=True)
class _File:
  """The content of a file of one library, and how it is converted.

  Attributes:
    source: as `Origin` has it.
    network: with the file's conventions.
    content: as `convert` and `separate_head` take it.
    num_logits: of its classifier; 0 if it has none.
    convert, separate_head: of the library's layout.
    notes: what its user should know of it.
  """

  source: str
  network: registry.Network
  content: Any
  num_logits: int
  convert: Callable[..., tuple[Tensors, list[str]]]
  separate_head: Callable[..., tuple[Any, bool]]
  notes: tuple[str, ...]


def _read(file: pathlib.Path, network: registry.Network) -> _File:
  """Reads a file of any library.

  Raises:
    InputError: if it cannot be read, or is of no library with this network.
  """
  if files.is_keras(file):
    content = keras_files.read(file)
    narrow = any(layer.narrow for layer in content)
    described = sources.keras(network)
    own = dataclasses.replace(described, head="own", num_classes=1)
    content = keras_layout.arrange(network.name, published_layers(own), content)
    return _File(
      "keras",
      described,
      content,
      keras_layout.num_logits(content),
      functools.partial(keras_layout.convert, network.name),
      keras_layout.separate_head,
      (_NARROW,) * narrow,
    )
  content = files.read_safetensors(file)
  narrow = files.has_narrow_floats(file)
  if exported.is_own(content):
    return _File(
      "mn_jax",
      _exported(file, network),
      content,
      exported.num_logits(content),
      exported.convert,
      exported.separate_head,
      (_NARROW,) * narrow,
    )
  recognised = torch_tensors.recognise(network.name, content, str(file))
  layout = recognised.layout
  return _File(
    layout.source,
    sources.torch(network, layout.source, file.with_name(sources.CONFIG)),
    recognised.content,
    torch_tensors.num_logits(layout, recognised.content),
    functools.partial(torch_tensors.convert, layout),
    functools.partial(torch_tensors.separate_head, layout),
    (recognised.note, *(_NARROW,) * narrow),
  )


def _exported(
  file: pathlib.Path, network: registry.Network
) -> registry.Network:
  """Returns a network with the conventions of one that this package exported.

  Raises:
    InputError: if that is another, or not described.
  """
  found = exported.describe(file)
  if found is None:
    raise InputError(
      f"model.weights: got {str(file)!r}, which has no {sources.CONFIG} beside "
      "it; valid: both files, as `mn-jax push` wrote them"
    )
  return with_conventions_of(found.network, network, str(file))


def with_conventions_of(
  theirs: registry.Network, network: registry.Network, name: str
) -> registry.Network:
  """Returns a network with the conventions of one whose weights it gets.

  Args:
    theirs: the network that the weights are of.
    network: that they are for; its classes and its head may differ.
    name: of the weights, for the error.

  Raises:
    InputError: if they are different networks.
  """
  options = dataclasses.replace(
    network.options, stride_in_1x1=theirs.options.stride_in_1x1
  )
  described = dataclasses.replace(
    network, options=options, conventions=theirs.conventions
  )
  other = dataclasses.replace(
    described, num_classes=theirs.num_classes, head=theirs.head
  )
  if other != theirs:
    raise InputError(
      f"model.weights: got {name!r}, which is of {theirs.name} at width "
      f"{theirs.width:g} with {theirs.options}; valid: weights of "
      f"{network.name} at width {network.width:g} with {network.options}"
    )
  return described


def _fit(
  layers: Sequence[counting.Layer],
  content: Any,
  convert: Callable[..., tuple[Tensors, list[str]]],
  separate_head: Callable[..., tuple[Any, bool]],
) -> tuple[Tensors, list[str], str]:
  """Converts all layers, or those of the backbone if only the head is another.

  Args:
    layers: that the file should have.
    content: of the file.
    convert: of the file's layout.
    separate_head: likewise.

  Returns:
    Tensors by path, the problems that make the file useless, and why its head
    cannot be used.
  """
  tensors, problems = convert(layers, content)
  if not problems:
    return tensors, [], ""
  backbone = [x for x in layers if x.path.startswith("backbone/")]
  rest, has_head = separate_head(backbone, content)
  of_backbone, problems_of_backbone = convert(backbone, rest)
  if problems_of_backbone:
    headless = not has_head and layers[-1].path != "head/logits"
    return tensors, problems_of_backbone if headless else problems, ""
  return of_backbone, [], _listed(problems) if has_head else ""


def _listed(problems: Sequence[str]) -> str:
  more = len(problems) - _MOST_PROBLEMS
  shown = "; ".join(problems[:_MOST_PROBLEMS])
  return f"{shown}; and {more} more" if more > 0 else shown


def for_classes(pretrained: Pretrained, classes: tuple[str, ...]) -> Pretrained:
  """Returns weights that keep the last layer only if it is of these classes.

  Args:
    pretrained: from `load`; those of others keep it if it is of as many.
    classes: of the network that they are for, in the order of the logits.
  """
  theirs, origin = pretrained.classes, pretrained.origin
  if theirs in ((), classes):
    return pretrained
  differ = "in another order" if set(theirs) == set(classes) else "others"
  notes = origin.note, f"the classes of {origin.file} are {differ}"
  return dataclasses.replace(
    pretrained,
    origin=dataclasses.replace(
      origin, num_classes=0, note="; ".join(filter(None, notes))
    ),
  )


def insert(pretrained: Pretrained, values: dict) -> dict:
  """Replaces the initial values of a network by pretrained weights.

  The backbone is replaced always, the head only if it is the one that the
  weights are of, and its last layer only if the number of classes is the same.

  Args:
    pretrained: from `load`.
    values: initial 'params' and 'batch_stats' of the network.

  Returns:
    The same tree with new values.

  Raises:
    InputError: if the head's input has another size than the file's.
  """
  flat = flax.traverse_util.flatten_dict(values, sep="/")
  same_head = pretrained.network.head == pretrained.origin.head
  prefix = "" if same_head else "backbone/"
  skipped = (
    "head/logits/"
    if pretrained.origin.num_classes != pretrained.network.num_classes
    else None
  )
  problems = []
  for name, tensor in pretrained.tensors.items():
    collection = "batch_stats" if _is_statistic(name) else "params"
    place = f"{collection}/{name}"
    if not name.startswith(prefix) or (skipped and name.startswith(skipped)):
      continue
    if flat[place].shape != tensor.shape:
      problems.append(f"{name}: {tensor.shape}, {flat[place].shape} here")
    flat[place] = tensor
    if name.endswith("/mean"):
      # Averages over a whole training: their start is long forgotten.
      flat[place.removesuffix("mean") + "weight"] = np.ones((), np.float32)
  if problems:
    size = f"={pretrained.network.conventions.resolution}"
    if pretrained.origin.source in ("mn_jax", "run"):
      size = " as they were trained with"
    raise InputError(
      f"model.head: got {pretrained.network.head!r}, for which the weights "
      f"have another size ({'; '.join(problems)}); valid: model.resolution"
      f"{size}, or another head"
    )
  changed = flax.traverse_util.unflatten_dict(flat, sep="/")
  return {"batch_stats": {}, **changed}  # there may be none


def _is_statistic(name: str) -> bool:
  return name.endswith(("/mean", "/var"))

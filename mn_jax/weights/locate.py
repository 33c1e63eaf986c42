"""Finds weights by name: ImageNet's, a repository of the hub, or a path.

`imagenet` is the published file of the network and its width, in the folder
where `mn-jax fetch` puts it; `hf:OWNER/NAME@REVISION` a model repository of the
Hugging Face Hub; everything else the path of a file, or of a folder that
`mn-jax push` wrote.
"""

import dataclasses
import pathlib

from mn_jax.data import store
from mn_jax.data.acquire import download
from mn_jax.errors import InputError
from mn_jax.weights import files, hub, manifest

IMAGENET = "imagenet"
# Network and width -> ImageNet weights of the hub, which has checksums of them:
# the default ones of timm 1.0.31, of networks whose files at Keras have none.
_OF_HUB = {
  ("mobilenet_v1", 1.0): "timm/mobilenetv1_100.ra4_e3600_r224_in1k",
  ("mobilenet_v2", 0.5): "timm/mobilenetv2_050.lamb_in1k",
  ("mobilenet_v2", 1.0): "timm/mobilenetv2_100.ra_in1k",
  ("mobilenet_v2", 1.4): "timm/mobilenetv2_140.ra_in1k",
}


@dataclasses.dataclass(frozen=True)
class Located:
  """A file of weights on this machine, and where it came from.

  Attributes:
    path: of the file.
    name: by which it was asked for.
    revision: commit of the hub's repository; '' for other files.
    note: what its user should know of it, or ''.
  """

  path: pathlib.Path
  name: str
  revision: str = ""
  note: str = ""


def resolve(
  name: str,
  network: str,
  *,
  width: float = 1.0,
  minimalistic: bool = False,
  revision: str = "",
) -> Located:
  """Finds weights, and downloads what is not on this machine.

  A file without a checksum of its publisher is not downloaded: of ImageNet's,
  those of MobileNetV1 and V2.

  Args:
    name: 'imagenet', 'hf:OWNER/NAME', 'hf:OWNER/NAME@REVISION', or the path of
      a file or a folder with `model.safetensors`.
    network: a name in `models.registry.MODELS`.
    width: its width multiplier, by which ImageNet's file is chosen.
    minimalistic: whether that of a minimalistic MobileNetV3 is meant.
    revision: commit that a name on the hub was resolved to before; '' to take
      what the name says today.

  Raises:
    InputError: if there are no such weights, or they cannot be had without a
      connection; the message says what to put where.
  """
  if name.startswith(hub.PREFIX):
    fetched = hub.fetch(name, revision=revision)
    return Located(fetched.path, name, fetched.commit, fetched.note)
  if name == IMAGENET:
    return Located(_imagenet(network, width, minimalistic), name)
  return Located(files.check_path(name), name)


def is_path(name: str) -> bool:
  """Returns whether a name of weights is a path, and not looked up."""
  return name != IMAGENET and not name.startswith(hub.PREFIX)


def at_hand(
  network: str, *, width: float = 1.0, minimalistic: bool = False
) -> pathlib.Path | None:
  """Returns ImageNet's file of a network if it is on this machine.

  Nothing is downloaded.

  Args:
    network: a name in `models.registry.MODELS`.
    width: its width multiplier.
    minimalistic: whether that of a minimalistic MobileNetV3 is meant.

  Returns:
    Its path, or None if it is not there, or no such weights are published.
  """
  published = _published(network, width, minimalistic)
  return None if published is None else find(folder(), published)


def downloadable(
  network: str, *, width: float = 1.0, minimalistic: bool = False
) -> str:
  """Returns the name of ImageNet weights that can be downloaded, or ''.

  Args:
    network: a name in `models.registry.MODELS`.
    width: its width multiplier.
    minimalistic: whether those of a minimalistic MobileNetV3 are meant.
  """
  published = _published(network, width, minimalistic)
  if published is not None and published.top.md5 is not None:
    return IMAGENET
  of_hub = _OF_HUB.get((network, width))
  return f"{hub.PREFIX}{of_hub}" if of_hub else ""


def folder(cache_dir: str = "") -> pathlib.Path:
  """Returns the folder of published weights, `$MN_JAX_CACHE/weights`.

  Args:
    cache_dir: in place of `$MN_JAX_CACHE`, or ''.
  """
  return store.cache_root(cache_dir) / "weights"


def find(
  folder: pathlib.Path, published: manifest.Weights
) -> pathlib.Path | None:
  """Returns the file of published weights in a folder; None if there is none.

  Args:
    folder: to look in.
    published: the weights. Their file may have its publisher's name, with or
      without classifier, or that of the weights.
  """
  for name in file_names(published):
    if (folder / name).is_file():
      return folder / name
  return None


def file_names(published: manifest.Weights) -> tuple[str, ...]:
  """Returns the names that a file of published weights may have."""
  return (
    published.top.name,
    published.no_top.name,
    f"{published.name}.h5",
    f"{published.name}.safetensors",
  )


def _imagenet(network: str, width: float, minimalistic: bool) -> pathlib.Path:
  """Returns the published file of a network, downloaded if need be.

  Raises:
    InputError: if there is none, or it cannot be downloaded.
  """
  published = _published(network, width, minimalistic)
  got = f"model.weights: got {IMAGENET!r} for {network!r}"
  if published is None:
    raise InputError(
      f"{got} at width {width:g}, for which no file is published; valid: for "
      f"{_listed(network)}, hf:OWNER/NAME of the Hugging Face Hub, or a path"
    )
  path = find(folder(), published) or folder() / published.top.name
  files_of = {file.name: file for file in (published.top, published.no_top)}
  file = files_of.get(path.name)
  if file is not None and file.md5 is not None:
    try:
      # Of a file that is there, only the checksum is compared.
      download.download(file.url, path, known_hash=f"md5:{file.md5}")
    except InputError as error:
      problem = str(error).partition("; valid: ")[0]
      raise InputError(
        f"{got}, which is not to be had in {path.parent}: {problem}; valid: "
        f"{path.name} put there, or a path"
      ) from None
  elif not path.is_file():
    name = downloadable(network, width=width)
    other = f"{name}, or " if name else ""
    raise InputError(
      f"{got}, which is not in {path.parent}, and whose publisher states no "
      f"checksum to compare a download with; valid: {other}{path.name} put "
      f"there, from {published.top.url}"
    )
  return path


def _published(
  network: str, width: float, minimalistic: bool
) -> manifest.Weights | None:
  """Returns the weights of the largest images, of this network and width."""
  wanted = {"width": width, "minimalistic": minimalistic}
  known = [
    published
    for published in manifest.load().values()
    if published.network == network
    and {"width": 1.0, "minimalistic": False, **published.options} == wanted
  ]
  return max(known, key=lambda weights: weights.resolution, default=None)


def _listed(network: str) -> str:
  """Returns the widths with published weights, or the networks."""
  known = manifest.load().values()
  widths = {
    f"{published.options.get('width', 1.0):g}"
    for published in known
    if published.network == network
  }
  if widths:
    return f"{network} at width {', '.join(sorted(widths, key=float))}"
  return ", ".join(dict.fromkeys(published.network for published in known))

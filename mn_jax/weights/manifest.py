"""The manifest of published weight files: names, addresses and checksums."""

import dataclasses
import importlib.resources
import json
from collections.abc import Mapping

from mn_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class File:
  """A published weight file.

  Attributes:
    name: of the file.
    url: its address.
    md5: hex digest that its publisher states; None where none is stated.
    parameters: number of its values, running statistics included.
  """

  name: str
  url: str
  md5: str | None
  parameters: int

  @property
  def megabytes(self) -> float:
    """Size in MB as float32, without the small overhead of the format."""
    return self.parameters * 4 / 1e6


@dataclasses.dataclass(frozen=True)
class Weights:
  """Published weights of a network, trained on ImageNet.

  Attributes:
    name: of the network and its variant.
    network: a name in `models.registry.MODELS`.
    options: fields of the config's model section that the file is for.
    resolution: height and width of the images it was trained on, in pixels.
    top: the file with the classifier of 1000 classes.
    no_top: the file without it.
    licence: of the file; None where none is stated.
    licence_note: where it is stated.
    origin: page that names the file.
  """

  name: str
  network: str
  options: Mapping[str, float | bool]
  resolution: int
  top: File
  no_top: File
  licence: str | None
  licence_note: str
  origin: str


def load() -> dict[str, Weights]:
  """Reads the manifest; returns published weights by name."""
  path = importlib.resources.files("mn_jax.weights") / "manifest.json"
  content = json.loads(path.read_bytes())
  weights = {}
  for entry in content["weights"]:
    family = content["families"][entry["family"]]
    files = {
      key: File(
        name=entry[key]["file"],
        url=family["base"] + entry[key]["file"],
        md5=entry[key]["md5"],
        parameters=entry[key]["parameters"],
      )
      for key in ("top", "no_top")
    }
    weights[entry["name"]] = Weights(
      name=entry["name"],
      network=entry["network"],
      options=entry["options"],
      resolution=entry["resolution"],
      licence=family["licence"],
      licence_note=family["licence_note"],
      origin=family["origin"],
      **files,
    )
  return weights


def get(name: str) -> Weights:
  """Returns published weights by name.

  Raises:
    InputError: if there are none of that name.
  """
  known = load()
  if name not in known:
    raise InputError(
      f"name: got {name!r}; valid: what `python -m mn_jax.tools.fetch` lists, "
      f"such as {next(iter(known))}"
    )
  return known[name]

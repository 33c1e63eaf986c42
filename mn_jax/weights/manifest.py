"""The published files of weights by name: where each is and what it is."""

import dataclasses
import importlib.resources
import json
from collections.abc import Mapping

from mn_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class File:
  """A file that somebody published.

  Attributes:
    name: of the file.
    url: where it is.
    md5: hex digest that its publisher states, or None where none is stated.
    parameters: number of its values, running statistics among them.
  """

  name: str
  url: str
  md5: str | None
  parameters: int

  @property
  def megabytes(self) -> float:
    """Its size as float32, without the little that the format adds."""
    return self.parameters * 4 / 1e6


@dataclasses.dataclass(frozen=True)
class Weights:
  """A network's weights, trained on ImageNet.

  Attributes:
    name: the network's and the variant's.
    network: a name in `models.registry.MODELS`.
    options: fields of the config's model section that the file is for.
    resolution: height and width of the images it was trained on, in pixels.
    top: the file with the classifier of 1000 classes.
    no_top: the file without it.
    licence: of the file, or None where none is stated.
    licence_note: who states it.
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
  """All of them, by name."""
  path = importlib.resources.files("mn_jax.weights") / "manifest.json"
  content = json.loads(path.read_text())
  found = {}
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
    found[entry["name"]] = Weights(
      name=entry["name"],
      network=entry["network"],
      options=entry["options"],
      resolution=entry["resolution"],
      licence=family["licence"],
      licence_note=family["licence_note"],
      origin=family["origin"],
      **files,
    )
  return found


def get(name: str) -> Weights:
  """Looks weights up.

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

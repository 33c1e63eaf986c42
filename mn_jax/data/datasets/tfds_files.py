"""Reads data sets that TensorFlow Datasets prepared, without TensorFlow.

That is possible in the `array_record` format only. Examples appear as files in
the publisher's layout, so that the same function lists both.
"""

import functools
import json
import pathlib
import zlib
from typing import Any

from mn_jax.data.datasets.spec import Tfds
from mn_jax.data.files import stamps
from mn_jax.data.files.archive import Files
from mn_jax.errors import InputError, in_one_line

FORMAT = "array_record"

_IMAGE, _LABEL = "image", "label"
# Reading a folder imports the classes that it names; only these are harmless.
_FEATURES = "tensorflow_datasets.core.features."


def is_prepared(path: pathlib.Path) -> bool:
  """Whether a folder is one that TensorFlow Datasets wrote."""
  return (path / "dataset_info.json").is_file()


def open_files(path: pathlib.Path, layout: Tfds) -> Files:
  """Opens a folder `NAME/VERSION` that TensorFlow Datasets prepared.

  Args:
    path: the folder.
    layout: the data set that is expected, and how its examples are named.

  Raises:
    InputError: if it is another data set or in another format.
  """
  _check_format(path)
  import tensorflow_datasets as tfds

  try:
    builder = tfds.builder_from_directory(path)
    features = builder.info.features
    names = check_features(features, layout)
    sources = {
      split: builder.as_data_source(
        split, decoders={_IMAGE: tfds.decode.SkipDecoding()}
      )
      for split in builder.info.splits
      if not layout.parts or split in dict(layout.parts)
    }
  except InputError as error:
    raise InputError(f"{path}: {error}") from None
  except Exception as error:  # TFDS raises whatever a broken folder leads to
    raise InputError(
      f"{path}: not readable as prepared by TensorFlow Datasets "
      f"({in_one_line(error)})"
    ) from None
  prepared = builder.info.full_name
  if prepared != layout.name.replace(":", "/"):
    raise InputError(
      f"{path}: got the data set {prepared!r}; valid: "
      f"{layout.name.replace(':', '/')!r}"
    )
  return _TfdsFiles(path, sources, layout, layout.folders or names)


def check_features(features: Any, layout: Tfds) -> tuple[str, ...]:
  """Returns the names of the classes, if examples have the expected features.

  Args:
    features: `tfds.features.FeaturesDict`.
    layout: what is expected.

  Raises:
    InputError: if a feature is missing or of another type.
  """
  import tensorflow_datasets as tfds

  expected = {
    _IMAGE: tfds.features.Image,
    _LABEL: tfds.features.ClassLabel,
    layout.file: tfds.features.Text,
  }
  for name, kind in expected.items():
    if name not in features or not isinstance(features[name], kind):
      raise InputError(
        f"got no feature {name!r} of type {kind.__name__}; valid: examples as "
        f"{layout.name} has them"
      )
  names = tuple(features[_LABEL].names)
  if layout.folders and len(names) != len(layout.folders):
    raise InputError(
      f"got {len(names)} classes; valid: {len(layout.folders)} as in "
      f"{layout.name}"
    )
  return names


class _TfdsFiles:
  """The examples of a prepared data set as `archive.Files`."""

  unread = notes = ()

  def __init__(
    self,
    path: pathlib.Path,
    sources: dict[str, Any],
    layout: Tfds,
    folders: tuple[str, ...],
  ):
    """Takes the data sources by split, and the folder of each class."""
    self._path, self._sources, self._layout = path, sources, layout
    self._folders = folders

  def names(self) -> list[str]:
    return [*self._examples]

  def stamp(self, name: str) -> int:
    *_, size, checksum = self._examples[name]
    return stamps.of_numbers(size, checksum)

  def read(self, name: str, count: int | None = None) -> bytes:
    if name not in self._examples:
      raise OSError(f"{name}: not in {self._path}")
    split, row, *_ = self._examples[name]
    try:
      return self._sources[split][row][_IMAGE][:count]
    except Exception as error:  # as in `open_files`
      if isinstance(error, OSError) and error.errno is not None:
        raise
      raise OSError(f"{name}: {type(error).__name__}") from None

  def close(self) -> None:
    self._sources.clear()  # the readers, which closes their files

  @functools.cached_property
  def _examples(self) -> dict[str, tuple[str, int, int, int]]:
    """Split, row, size in bytes and CRC-32 of every example, by name.

    Reads everything, as these are nowhere else, but decodes no image.
    """
    examples = {}
    parts = dict(self._layout.parts)
    for split, source in self._sources.items():
      above = f"{parts[split]}/" if parts else ""
      for row in range(len(source)):
        file, label, image = self._read_example(split, row)
        name = f"{above}{self._folders[label]}/{file}"
        if name in examples:
          raise InputError(
            f"{self._path}: {name!r} is there twice; valid: one copy of each"
          )
        examples[name] = (split, row, len(image), zlib.crc32(image))
    return examples

  def _read_example(self, split: str, row: int) -> tuple[str, int, bytes]:
    """Returns file name, label and image file of an example."""
    try:
      example = self._sources[split][row]
      file = example[self._layout.file].decode()
      label, image = int(example[_LABEL]), example[_IMAGE]
    except Exception as error:  # as in `open_files`
      raise InputError(
        f"{self._path}: example {row} of {split!r} cannot be read "
        f"({type(error).__name__}); valid: the folder prepared anew"
      ) from None
    if not 0 <= label < len(self._folders):
      raise InputError(
        f"{self._path}: example {row} of {split!r} has the label {label}; "
        f"valid: 0 to {len(self._folders) - 1}"
      )
    if not file.lower().endswith(self._layout.suffix):
      file += self._layout.suffix
    return file, label, image


def _check_format(path: pathlib.Path) -> None:
  """Refuses folders that TensorFlow would be needed for, or could do harm."""
  try:
    info = json.loads((path / "dataset_info.json").read_bytes())
    features = json.loads((path / "features.json").read_bytes())
    file_format = info.get("fileFormat", "tfrecord")
  except (OSError, ValueError, AttributeError) as error:
    raise InputError(
      f"{path}: not readable as prepared by TensorFlow Datasets "
      f"({type(error).__name__})"
    ) from None
  if file_format != FORMAT:
    raise InputError(
      f"{path}: got the format {file_format!r}, which only TensorFlow reads; "
      f"valid: {FORMAT}, as download_and_prepare(file_format={FORMAT!r}) "
      "writes it"
    )
  pending = [features]
  while pending:
    node = pending.pop()
    if isinstance(node, dict):
      name = str(node.get("pythonClassName", _FEATURES))
      if not name.startswith(_FEATURES):
        raise InputError(
          f"{path}: refused: a feature of class {name!r}; valid: those of "
          "TensorFlow Datasets"
        )
      pending += node.values()
    elif isinstance(node, list):
      pending += node

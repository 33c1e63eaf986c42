"""Opens the images of a data set as a config's section `data` says."""

import dataclasses
import pathlib
from contextlib import AbstractContextManager

import numpy as np

from mn_jax.config.sections.data import DataConfig
from mn_jax.data import context, groups, packing, stains, store
from mn_jax.data.cache import PackedCache
from mn_jax.data.datasets import columns, registry
from mn_jax.data.datasets.listing import Listing
from mn_jax.data.datasets.source import Source
from mn_jax.data.datasets.spec import DatasetSpec
from mn_jax.errors import InputError


def open_source(section: DataConfig) -> AbstractContextManager[Source]:
  """Opens the images of a data set before they are packed.

  Args:
    section: which data.

  Raises:
    InputError: if it is missing or refused.
  """
  return store.open_source(
    section.name,
    section.path,
    store.cache_root(section.cache_dir),
    columns=_columns(section),
  )


def open_packed(
  section: DataConfig,
  progress: packing.Progress,
  names: tuple[str, ...] = (),
) -> PackedCache:
  """Opens the packed images of a data set; decodes them on the first call.

  Args:
    section: which data.
    progress: called while images are decoded.
    names: of the classes in the order of the labels, some of which may have no
      image; empty: as the data has them.

  Returns:
    The images, in the groups that the data set has by itself.

  Raises:
    InputError: for data that cannot be used.
  """
  root = store.cache_root(section.cache_dir)
  packed = store.load(
    section.name,
    path=section.path,
    root=root,
    options=packing.PackOptions(
      _size(section),
      section.other_sizes,
      section.max_unreadable,
      section.bits,
      section.crop_share,
      section.short_side,
    ),
    columns=_columns(section),
    classes=names,
    progress=progress,
  )
  if section.stain_normalisation != "none":
    packed = _normalise_stains(section, packed, root / "derived")
  if section.context:
    step = registry.get(section.name).image_size
    folder = root / "derived"
    reach = section.context
    packed = context.surround(packed, step=step, reach=reach, folder=folder)
  return packed


def _size(section: DataConfig) -> int:
  """Returns height and width of a packed image, without those around it.

  Raises:
    InputError: if patches cannot be put together as the config says.
  """
  if not section.context:
    return section.image_size
  got = f"data.context: got {section.context}"
  if not registry.get(section.name).slides:
    raise InputError(
      f"{got} for {section.name!r}, whose images have no known places on "
      "slides; valid: 0"
    )
  if section.split not in ("grouped", "kfold", "fixed"):
    raise InputError(
      f"{got} with data.split={section.split}, which may have a patch in "
      "training and the one beside it in the test; valid: grouped, kfold, fixed"
    )
  if section.group_pattern:
    raise InputError(
      f"{got} with data.group_pattern, by which a slide may be in two parts; "
      "valid: the groups that the data set has"
    )
  side = 2 * section.context + 1
  if section.image_size % side:
    raise InputError(
      f"data.image_size: got {section.image_size} with data.context "
      f"{section.context}; valid: a multiple of {side}, the patches in a row"
    )
  return section.image_size // side


def _normalise_stains(
  section: DataConfig, packed: PackedCache, folder: pathlib.Path
) -> PackedCache:
  groups_of = regroup(section, packed).groups
  if len(np.unique(groups_of)) == len(packed) > 1:
    raise InputError(
      "data.stain_normalisation: got 'macenko' for images of which no groups "
      "are known; valid: none, or with data.group or data.group_pattern, the "
      "slide or patient of each"
    )
  return stains.normalise(packed, groups_of, folder)


def regroup[Images: (PackedCache, Listing)](
  section: DataConfig, packed: Images
) -> Images:
  """Returns the images in the groups that their names tell, if so asked."""
  if not section.group_pattern:
    return packed
  found, notes = groups.by_pattern(section.group_pattern, packed.names)
  return dataclasses.replace(
    packed, groups=found, notes=(*packed.notes, *notes)
  )


def describe(
  section: DataConfig, packed: PackedCache | Listing, names: tuple[str, ...]
) -> DatasetSpec:
  """Returns the description of a data set with the user's group and positive.

  Args:
    section: which data.
    packed: its images.
    names: of the classes that are used.

  Raises:
    InputError: for a positive class that is none of them.
  """
  spec = registry.get(section.name)
  is_grouped = len(np.unique(packed.groups)) < len(packed)
  if section.group_pattern or (spec.group is None and is_grouped):
    known = section.group and not section.group_pattern
    unit = columns.unit(section.group) if known else "group"
    # Groups by a pattern need not be slides.
    spec = dataclasses.replace(spec, group=unit, slides=False)
  if not section.positive:
    return spec
  if packed.multi_label or section.positive not in names:
    valid = "'', as each label has its own" if packed.multi_label else names
    raise InputError(
      f"data.positive: got {section.positive!r}; valid: "
      f"{valid if isinstance(valid, str) else ', '.join(valid)}"
    )
  return dataclasses.replace(spec, positive=names.index(section.positive))


def check_classes(section: DataConfig, packed: PackedCache | Listing) -> None:
  """Refuses to use the first of more classes than there are, or of labels."""
  if section.classes and packed.multi_label:
    raise InputError(
      f"data.classes: got {section.classes} of images with several labels; "
      "valid: 0, and fewer columns or labels in the table"
    )
  if section.classes > len(packed.classes):
    raise InputError(
      f"data.classes: got {section.classes} of {section.name!r}; valid: at "
      f"most {len(packed.classes)}"
    )


def has_positive(section: DataConfig) -> bool:
  """Whether one class of a data set is the positive one; reads no data."""
  spec = registry.get(section.name)
  return bool(section.positive) or spec.positive is not None


def _columns(section: DataConfig) -> columns.Columns:
  """Returns which columns of a table are which."""
  return columns.Columns(
    **{
      field.name: getattr(section, field.name)
      for field in dataclasses.fields(columns.Columns)
    }
  )

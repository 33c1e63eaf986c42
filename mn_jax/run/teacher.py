"""The teacher of a run: loaded, compared with the run's data, described.

A teacher is a finished run, a folder that `mn-jax push` wrote, or a file of
weights. Its classes must be the run's, in any order. One that learnt from
images of the run's validation or test part would tell what they are, so a
teacher that is a run is refused where that is so; see `run_overlap`.
"""

import dataclasses
import pathlib
from typing import Any

import numpy as np
from jax.sharding import Mesh

from mn_jax.config import Config, paths
from mn_jax.config.experiment import TrainConfig
from mn_jax.data import checksums
from mn_jax.errors import InputError
from mn_jax.models import counting, folding, registry, variables
from mn_jax.parallel import mesh as mesh_lib
from mn_jax.run import records, reopen, run_overlap, weights_of_run
from mn_jax.run.split_data import SplitData
from mn_jax.train import distill
from mn_jax.train import state as state_lib
from mn_jax.weights import exported, imagenet, locate, pretrained

_MOST_NAMED = 5  # classes that an error names


@dataclasses.dataclass(frozen=True)
class RunTeacher:
  """A teacher as a run trains with it.

  Attributes:
    network: the network, its normalisation and the size of its input.
    variables: its folded variables on the mesh, with logits in the order of the
      run's classes.
    macs: mult-adds of its forward pass of one image.
    sha256: of all that its predictions depend on.
    described: what the run writes down about it, as JSON can hold it.
    notes: what the run's user should know of it.
  """

  network: distill.Teacher
  variables: dict
  macs: int
  sha256: str
  described: dict[str, Any]
  notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Saved:
  """A trained network as it was saved, before it is made a teacher.

  Attributes:
    network: its definition.
    variables: 'params' and 'batch_stats', f32 NumPy arrays.
    classes: their names in the order of the logits; () if it has none.
    multi_label: whether an image may have several labels; None if not known.
    resolution: height and width of its input in pixels.
    dtype: 'float32' or 'bfloat16', what it was trained to compute in.
    described: what else there is to write down about it.
    notes: what its user should know of it.
  """

  network: registry.Network
  variables: dict
  classes: tuple[str, ...]
  multi_label: bool | None
  resolution: int
  dtype: str
  described: dict[str, Any]
  notes: tuple[str, ...]


def check(config: TrainConfig) -> None:
  """Refuses a teacher that is not there before any data is read.

  Raises:
    InputError: naming the field.
  """
  if not config.teacher:
    return
  if _is_run(config.teacher):
    if not (_path(config.teacher) / "summary.json").is_file():
      raise InputError(
        f"train.teacher: got {config.teacher!r}, a run that has not ended; "
        "valid: a finished one, whose best checkpoint does not change any more"
      )
    if config.teacher_model:
      raise InputError(
        f"train.teacher_model: got {config.teacher_model!r} with "
        f"train.teacher {config.teacher!r}, a run, which says its network; "
        "valid: ''"
      )
    return
  weights_of_run.refuse_seeds("train.teacher", config.teacher)
  if locate.is_path(config.teacher) and not _path(config.teacher).exists():
    raise InputError(
      f"train.teacher: got {config.teacher!r}, which is not there; valid: the "
      "workdir of a finished run, a folder of `mn-jax push`, or weights"
    )
  if config.teacher_model:
    registry.get(config.teacher_model)


def load(config: Config, data: SplitData, mesh: Mesh) -> RunTeacher | None:
  """Loads the teacher of a run; None without one.

  Args:
    config: the experiment.
    data: of the run.
    mesh: the devices.

  Raises:
    InputError: if it cannot be read, has other classes, saw images in other
      stains or surroundings, or learnt from images of the run's validation or
      test part.
  """
  section = config.train
  if not section.teacher:
    return None
  if _is_run(section.teacher):
    run = run_overlap.open_named("train.teacher", _path(section.teacher))
    _check_images(run, config)
    saved, overlap = _of_run(run), run_overlap.of_run(run, data)
  else:
    try:
      saved = _of_weights(section, data)
    except InputError as error:
      # Who reads weights knows of one field that names them.
      text = str(error).replace("model.weights: ", "train.teacher: ", 1)
      raise InputError(text) from None
    overlap = run_overlap.UNKNOWN
  order, notes = _order(section, saved, data)
  notes = (*saved.notes, *notes, *_accept(section, overlap))
  facts = {
    "network": dataclasses.asdict(saved.network),
    "classes": saved.classes,
    "resolution": saved.resolution,
    "dtype": saved.dtype,
    "variables": state_lib.sha256(
      {name: saved.variables[name] for name in ("params", "batch_stats")}
    ),
  }
  sha256 = checksums.of_json(facts)
  folded = folding.fold(
    saved.variables, epsilon=saved.network.conventions.epsilon
  )
  module = registry.build(saved.network, dtype=saved.dtype, folded=True)
  return RunTeacher(
    network=distill.Teacher(
      module, saved.network.conventions, saved.resolution
    ),
    variables=mesh_lib.replicate(mesh, _with_logits(folded, order)),
    macs=counting.count_macs(module, saved.resolution),
    sha256=sha256,
    described={
      "name": section.teacher,
      "model": saved.network.name,
      "width": saved.network.width,
      "resolution": saved.resolution,
      "sha256": sha256,
      **saved.described,
      "overlap": overlap.relation,
      "notes": notes,
      "temperature": section.teacher_temperature,
      "weight": section.teacher_weight,
    },
    notes=notes,
  )


def _path(name: str) -> pathlib.Path:
  return paths.local(name, "train.teacher")


def _is_run(name: str) -> bool:
  """Whether a teacher is the workdir of a run, and not weights."""
  return locate.is_path(name) and (_path(name) / "network.json").is_file()


def _check_images(run: reopen.SavedRun, config: Config) -> None:
  """Refuses a teacher that would be shown what it was not trained on."""
  for name in ("stain_normalisation", "context"):
    own, theirs = getattr(config.data, name), getattr(run.config.data, name)
    if own != theirs:
      raise InputError(
        f"train.teacher: got {str(run.path)!r}, which was trained with "
        f"data.{name}={theirs}, for a run with {own}; valid: a run of the same"
      )


def _of_run(run: reopen.SavedRun) -> _Saved:
  summary = records.read_summary(run.path)
  section, fake_quant = run.config.data, run.config.model.fake_quant
  return _Saved(
    network=run.network,
    variables=run.variables,
    classes=run.classes,
    multi_label=run.multi_label,
    resolution=run.config.model.resolution or section.image_size,
    dtype=run.config.model.dtype,
    described={
      "kind": "run",
      "experiment": summary["experiment"],
      "seed": summary["seed"],
      "step": run.step,
      "split_sha256": summary["split_sha256"],
      "state_sha256": summary.get("state_sha256"),
      "metrics": {
        name: value
        for name, value in summary.items()
        if name.startswith(("val/", "test/"))
      },
    },
    notes=()
    if fake_quant == "none"
    else (
      f"the teacher was fine-tuned with model.fake_quant={fake_quant}: its "
      "metrics are with that rounding, it teaches without",
    ),
  )


def _of_weights(section: TrainConfig, data: SplitData) -> _Saved:
  """Reads weights: those of `mn-jax push` describe themselves.

  Raises:
    InputError: if they cannot be read, or have no classifier.
  """
  name = section.teacher
  if name != locate.IMAGENET:  # of which network, it does not say
    located = locate.resolve(name, network="")
    found = exported.read(located.path)
    if found is not None:
      return _of_export(section, located, *found)
  if not section.teacher_model:
    raise InputError(
      f"train.teacher: got {name!r}, weights that do not say their network; "
      "valid: the workdir of a run, a folder of `mn-jax push`, or "
      "train.teacher_model too"
    )
  network = registry.describe(
    section.teacher_model,
    num_classes=len(data.classes),
    width=section.teacher_width,
  )
  loaded = pretrained.load(name, network)
  origin = loaded.origin
  if origin.head_problem or not origin.num_classes:
    problem = origin.head_problem or "there is none"
    raise InputError(
      f"train.teacher: got {name!r}, without a classifier that can be used "
      f"({problem}); valid: weights with one of this data's classes"
    )
  network = dataclasses.replace(
    loaded.network, num_classes=origin.num_classes, head="own"
  )
  conventions = network.conventions
  names = loaded.class_names
  if not names and origin.num_classes == len(imagenet.names()):
    names = tuple(imagenet.names())
  initial = variables.initial_values(
    registry.build(network), conventions.resolution, seed=0
  )
  return _Saved(
    network=network,
    variables=pretrained.insert(
      dataclasses.replace(loaded, network=network), initial
    ),
    classes=names,
    multi_label=None,
    resolution=conventions.resolution,
    dtype="float32",
    described={"kind": "weights", "file": origin.described()},
    notes=(origin.note,) if origin.note else (),
  )


def _of_export(
  section: TrainConfig,
  located: locate.Located,
  found: exported.Description,
  values: dict,
) -> _Saved:
  if section.teacher_model:
    raise InputError(
      f"train.teacher_model: got {section.teacher_model!r} with train.teacher "
      f"{section.teacher!r}, which says its network; valid: ''"
    )
  return _Saved(
    network=found.network,
    variables=values,
    classes=found.classes,
    multi_label=found.multi_label,
    resolution=found.resolution or found.image_size,
    dtype=found.dtype,
    described={"kind": "export", "revision": located.revision},
    notes=(located.note,) if located.note else (),
  )


def _order(
  section: TrainConfig, saved: _Saved, data: SplitData
) -> tuple[np.ndarray | None, tuple[str, ...]]:
  """Returns the teacher's logit of each of the run's classes, and notes.

  Returns:
    i64[classes], or None where the order is the same.

  Raises:
    InputError: if the classes are others, or several are called alike.
  """
  ours, theirs = tuple(data.classes), saved.classes
  count, got = saved.network.num_classes, f"got {section.teacher!r}"
  valid = f"the {len(ours)} classes {_listed(ours)}"
  if saved.multi_label not in (None, data.multi_label):
    kind = "several labels" if saved.multi_label else "one class"
    raise InputError(
      f"train.teacher: {got}, trained on images of {kind} each; valid: a "
      f"teacher of {'several labels' if data.multi_label else 'one class'} too"
    )
  if theirs == ours:
    return None, ()
  if set(theirs) == set(ours) and len(set(ours)) == len(theirs) == len(ours):
    return np.array([theirs.index(name) for name in ours]), ()
  if count == len(ours) and section.teacher_unchecked:
    named = f"are called {_listed(theirs)}" if theirs else "have no names"
    return None, (
      f"the teacher's classes {named}; they are taken for this data's in the "
      "same order",
    )
  if not theirs and count == len(ours):
    raise InputError(
      f"train.teacher: {got}, which does not name its classes; valid: {valid}, "
      "or train.teacher_unchecked=true if its logits are in this order"
    )
  named = f": {_listed(theirs)}" if theirs else ""
  raise InputError(
    f"train.teacher: {got}, which has {count} classes{named}; valid: {valid}"
  )


def _accept(
  section: TrainConfig, overlap: run_overlap.Overlap
) -> tuple[str, ...]:
  """Returns notes on images that the teacher knows, if that is accepted.

  Raises:
    InputError: if it knows some, and that is not asked for.
  """
  if not overlap.leak:
    return (overlap.note,) if overlap.note else ()
  if not section.teacher_unchecked:
    named = ", ".join(overlap.examples)
    raise InputError(
      f"train.teacher: got {section.teacher!r}, which {overlap.leak} (such as "
      f"{named}); valid: a teacher of the same data.split and data.split_seed, "
      "or train.teacher_unchecked=true, with which metrics promise too much"
    )
  return (f"the teacher {overlap.leak}: metrics promise too much",)


def _with_logits(folded: dict, order: np.ndarray | None) -> dict:
  """Returns variables whose logits are in another order."""
  if order is None:
    return folded
  params = folded["params"]
  head = params["head"]
  logits = {name: value[..., order] for name, value in head["logits"].items()}
  head = {**head, "logits": logits}
  return {**folded, "params": {**params, "head": head}}


def _listed(names: tuple[str, ...]) -> str:
  more = len(names) - _MOST_NAMED
  text = ", ".join(map(repr, names[:_MOST_NAMED]))
  return f"{text} and {more} more" if more > 0 else text

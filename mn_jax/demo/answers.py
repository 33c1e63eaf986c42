"""What the page is told of a run: predictions, and what explains them."""

import functools
from typing import Any

import numpy as np

from mn_jax.data import classes as classes_lib
from mn_jax.data.datasets import registry
from mn_jax.demo import pictures
from mn_jax.deploy import confidence, predictor
from mn_jax.errors import InputError
from mn_jax.explain import saliency, slide_map
from mn_jax.metrics import calibration, conformal, out_of_distribution
from mn_jax.observe import formatting, inspection_figures
from mn_jax.run import records, reopen, split_data
from mn_jax.run import reference as reference_lib

ALPHAS = (0.05, 0.1, 0.2)  # shares of prediction sets that miss the class
METHODS = ("grad_cam", *(x for x in saliency.METHODS if x != "grad_cam"))
_NEIGHBOURS = 6
_EXAMPLES = 12  # of the test part, at once


class Answers:
  """The network of a run, and what is known of it.

  Methods return values that JSON can hold. They are for one thread at a time.
  """

  def __init__(
    self,
    run: reopen.SavedRun,
    data: split_data.SplitData | None,
    *,
    why_no_data: str = "",
  ):
    """Reads what validation says; compiles nothing yet.

    Args:
      run: opened at the checkpoint to be tried.
      data: of the run; None where its images are not to be had.
      why_no_data: why not.

    Raises:
      DamagedError: if a file of the run is not as it was written.
    """
    self._run, self._data = run, data
    self._network = predictor.from_run(run, batch_size=1)
    self._explainer = saliency.Explainer(
      run.module,
      run.network.conventions,
      resolution=run.config.model.resolution,
    )
    # (what there is not, why) for the page.
    self._missing: list[tuple[str, str]] = []
    if data is None:
      slides = registry.get(run.config.data.name).slides
      more = ", thumbnails and slides" if slides else " and thumbnails"
      self._lack(f"examples{more}", why_no_data)
    reference, why = reference_lib.of_run(run)
    if reference is None:
      self._lack("strangeness and nearest training images", why)
    self._thresholds: dict[float, conformal.Thresholds] = {}
    temperature = self._read_validation()
    self._calibrated = temperature is not None
    self._confidence = confidence.Confidence(
      multi_label=run.multi_label,
      temperature=temperature or 1.0,
      reference=reference,
    )
    self._tested = np.empty(0, np.int64)
    if data is not None:
      self._tested = np.random.default_rng(0).permutation(data.part("test"))

  def _lack(self, what: str, why: str) -> None:
    self._missing.append((what, why))

  def _read_validation(self) -> float | None:
    """Reads the thresholds of prediction sets; returns the temperature."""
    if self._run.multi_label:
      self._lack(
        "prediction sets", "they are for images with one label; these have any"
      )
    try:
      validation = reference_lib.validation(self._run)
    except records.DamagedError:
      raise
    except InputError as error:
      sets = "" if self._run.multi_label else " and prediction sets"
      self._lack(f"calibrated probabilities{sets}", str(error))
      return None
    for alpha in () if self._run.multi_label else ALPHAS:
      try:
        self._thresholds[alpha] = conformal.calibrate(validation, alpha=alpha)
      except InputError as error:
        self._lack(f"prediction sets that miss {alpha:.0%}", str(error))
    temperature = calibration.fit_temperature(validation.predictions)
    if np.isnan(temperature):
      self._lack("calibrated probabilities", "logits of validation overflow")
      return None
    return temperature

  def warm_up(self) -> None:
    """Compiles the network and the saliency map that the page shows first."""
    size = self._run.config.data.image_size
    blank = np.zeros((size, size, 3), np.uint8)
    self.predict(blank)
    self.explain(blank, METHODS[0], 0)

  @property
  def missing(self) -> tuple[tuple[str, str], ...]:
    """What there is not for this run, and why."""
    return tuple(self._missing)

  def describe(self) -> dict[str, Any]:
    """Describes the run and what the page can show of it."""
    run = self._run
    return {
      "title": f"{run.config.experiment} · {run.network.name}",
      "workdir": str(run.path),
      "step": run.step,
      "results": self._results(),
      "classes": list(run.classes),
      "multi_label": run.multi_label,
      "calibrated": self._calibrated,
      "temperature": self._confidence.temperature,
      "alphas": list(self._thresholds),
      "methods": list(METHODS),
      "strange": self._strange(),
      "missing": [{"what": x, "why": y} for x, y in self._missing],
      "examples": len(self._tested),
      "slides": self._slides(),
    }

  def predict(self, pixels: np.ndarray) -> dict[str, Any]:
    """Predicts an image.

    Args:
      pixels: u8[size, size, 3], as the run's images are packed.

    Returns:
      'image'; 'raw' and 'calibrated', the probability of each class; 'sets',
      the classes in the prediction set of each alpha; 'distance' and 'energy',
      percentages of validation images; 'nearest' training images. None for what
      there is not.

    Raises:
      RunError: if the outputs of the network are not finite.
    """
    (outputs,) = self._network.outputs([pixels])
    (judged,) = self._confidence.judge([outputs])
    raw = self._network.probabilities_of(outputs.logits)
    return {
      "image": pictures.address(pixels),
      "raw": raw.tolist(),
      "calibrated": judged.probabilities.tolist() if self._calibrated else None,
      "sets": {
        str(alpha): np.flatnonzero(thresholds.sets(raw)).tolist()
        for alpha, thresholds in self._thresholds.items()
      },
      "distance": judged.distance,
      "energy": judged.energy,
      "nearest": self._nearest(outputs.features),
    }

  def explain(
    self, pixels: np.ndarray, method: str, label: int
  ) -> dict[str, Any]:
    """Maps which pixels raise the logit of a class.

    Args:
      pixels: u8[size, size, 3].
      method: one of METHODS.
      label: index of the class.

    Returns:
      'overlay', a picture to be laid over the image, and whether it is 'empty'.

    Raises:
      InputError: for an unknown method or class.
    """
    if method not in METHODS:
      raise InputError(f"method: got {method!r}; valid: {', '.join(METHODS)}")
    self._check_class(label)
    (values,) = self._explainer.explain(
      method, self._run.variables, pixels[None], np.array([label])
    )
    signed = method == "integrated_gradients"
    return {
      "overlay": pictures.address(
        inspection_figures.heat(values, signed=signed)
      ),
      "empty": not bool(values.any()),
    }

  def examples(self, start: int) -> list[dict[str, Any]]:
    """Lists some images of the test part, in a random order.

    Args:
      start: number of the first, any integer; after the last comes the first.
    """
    count = min(_EXAMPLES, len(self._tested))
    places = np.arange(start, start + count) % max(1, len(self._tested))
    return [self._listed(row) for row in self._tested[places].tolist()]

  def example(self, row: int) -> tuple[np.ndarray, dict[str, Any]]:
    """Returns the pixels of an image of the test part, and what it is.

    Args:
      row: as `examples` lists it.

    Raises:
      InputError: if the test part has no such row.
    """
    if row not in self._tested:
      raise InputError(f"example: got {row}; valid: a row of the test part")
    return np.asarray(self._data.cache.images[row]), self._listed(row)

  def slide(self, group: str, label: int) -> dict[str, Any]:
    """Maps the probability of a class over a slide of the test part.

    Args:
      group: patient or slide.
      label: index of the class.

    Raises:
      InputError: for an unknown group or class.
    """
    if group not in self._groups:
      raise InputError(f"group: got {group!r}; valid: one of the test part")
    self._check_class(label)
    patches = slide_map.find(self._data, group)
    found = slide_map.predict(self._run, self._data, patches, label)
    return {
      "title": patches.title,
      "class": self._run.classes[label],
      "positive": found.positive,
      "correct": found.correct,
      "tissue": pictures.tissue(found.tissue),
      "truth": pictures.address(inspection_figures.shares(found.truth)),
      "probability": pictures.address(
        inspection_figures.shares(found.probability)
      ),
    }

  def _results(self) -> str:
    """Returns the test metric that validation was chosen by, or ''."""
    if not (self._run.path / "summary.json").exists():
      return ""
    summary = records.read_summary(self._run.path)
    key = f"test/{summary['best_metric']}"
    if summary["best_step"] != self._run.step or summary.get(key) is None:
      return ""
    images = formatting.count(int(summary["test/count"]), "image")
    name = formatting.metric_name(key)
    return f"{name} {formatting.number(summary[key])} of {images}"

  def _strange(self) -> float | None:
    """Returns the percentile from which a distance is strange."""
    reference = self._confidence.reference
    if reference is None:
      return None
    return out_of_distribution.strange_from(len(reference.distances))

  def _slides(self) -> dict[str, Any] | None:
    if not self._groups:
      return None
    spec = self._data.spec
    return {
      "unit": spec.group,
      "groups": [
        {"name": name, "patches": count} for name, count in self._groups.items()
      ],
      "class": spec.positive or 0,
    }

  @functools.cached_property
  def _groups(self) -> dict[str, int]:
    """The slides of the test part with their patches, large ones first."""
    if self._data is None or not self._data.spec.slides:
      return {}
    names, counts = np.unique(
      self._data.cache.groups[self._data.part("test")], return_counts=True
    )
    order = np.argsort(-counts, kind="stable")
    return dict(zip(names[order].tolist(), counts[order].tolist(), strict=True))

  @functools.cached_property
  def _rows(self) -> dict[str, int]:
    """Name of a training image of the reference -> its row, if known."""
    if self._data is None:
      return {}
    names = set(self._confidence.reference.names.tolist())
    return {
      name: row
      for row, name in enumerate(self._data.cache.names.tolist())
      if name in names
    }

  def _nearest(self, features: np.ndarray) -> list[dict[str, Any]] | None:
    reference = self._confidence.reference
    if reference is None:
      return None
    (places,), (distances,) = reference.nearest(features[None], _NEIGHBOURS)
    images = []
    for place, distance in zip(places, distances.tolist(), strict=True):
      name = str(reference.names[place])
      row = self._rows.get(name)
      picture = None
      if row is not None:
        picture = pictures.thumbnail(np.asarray(self._data.cache.images[row]))
      label = classes_lib.names_of(self._run.classes, reference.labels[place])
      images.append(
        {"name": name, "label": label, "image": picture, "distance": distance}
      )
    return images

  def _listed(self, row: int) -> dict[str, Any]:
    cache = self._data.cache
    return {
      "row": row,
      "name": str(cache.names[row]),
      "label": classes_lib.names_of(self._run.classes, cache.labels[row]),
      "image": pictures.thumbnail(np.asarray(cache.images[row])),
    }

  def _check_class(self, label: int) -> None:
    count = len(self._run.classes)
    if not 0 <= label < count:
      raise InputError(f"class: got {label}; valid: 0 to {count - 1}")

"""Averages the predictions of several networks, and of several views."""

import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from mn_jax.augment import views as views_lib
from mn_jax.augment.views import View
from mn_jax.deploy import folded, predictor
from mn_jax.deploy.predictor import Predictor
from mn_jax.errors import InputError
from mn_jax.evaluation import members, new_images
from mn_jax.metrics import ensemble
from mn_jax.run.reopen import SavedRun


def of_runs(
  runs: Sequence[SavedRun],
  *,
  views: str = "",
  precision: str | None = None,
  batch_size: int = 32,
) -> Predictor:
  """Makes a predictor of the mean probabilities of runs and of views.

  Args:
    runs: of the same classes, which read images alike.
    views: test-time augmentation: a name in `augment.views.KINDS`, 'auto' for
      the symmetries that training showed, '' for none.
    precision: a name in `folded.PRECISIONS`; None for each run's compute type.
    batch_size: largest number of images in a batch.

  Raises:
    InputError: for runs that are no ensemble, or views that training did not
      show.
  """
  members.check(runs)
  kind = members.kind_of_views(runs, views)
  rules = {new_images.reading(run): run for run in runs}
  if len(rules) > 1:
    (first, run), (second, other) = itertools.islice(rules.items(), 2)
    name, value, another = next(
      (name, a, b)
      for (name, a), (_, b) in zip(first, second, strict=True)
      if a != b
    )
    raise InputError(
      f"--workdir: got runs that read images differently, {str(run.path)!r} "
      f"with {name}={value} and {str(other.path)!r} with {another}; valid: "
      f"runs of one {name}"
    )
  return mean(
    [
      predictor.from_run(run, precision=precision, batch_size=batch_size)
      for run in runs
    ],
    views_lib.KINDS[kind] if kind else (views_lib.PLAIN,),
  )


def mean(networks: Sequence[Predictor], views: Sequence[View]) -> Predictor:
  """Returns a predictor of the mean probabilities of networks and views.

  Its features are those of the first network for the first view.

  Args:
    networks: of the same classes and images, at least one.
    views: of every image, at least one.
  """
  first = networks[0]

  def outputs(images: Iterable[np.ndarray]) -> Iterator[folded.Outputs]:
    copies = itertools.tee(images, len(networks))
    streams = [
      network.outputs(view(image) for image in images for view in views)
      for network, images in zip(networks, copies, strict=True)
    ]
    while True:
      seen = [x for s in streams for x in itertools.islice(s, len(views))]
      if not seen:
        return
      logits = np.stack([x.logits for x in seen])[:, np.newaxis]
      averaged = ensemble.mean_logits(logits, multi_label=first.multi_label)
      yield folded.Outputs(averaged[0], seen[0].features)

  return Predictor(
    classes=first.classes,
    read_image=first.read_image,
    outputs=outputs,
    multi_label=first.multi_label,
  )

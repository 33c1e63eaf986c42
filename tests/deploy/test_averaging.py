"""Tests of mean predictions of several networks and views."""

import dataclasses

import numpy as np
import pytest
import scipy.special

from mn_jax.augment import views
from mn_jax.deploy import averaging, folded, predictor
from mn_jax.errors import InputError
from mn_jax.run import reopen
from mn_jax.tools import predict
from tests.evaluation import new_sample

pytestmark = pytest.mark.usefixtures("standard_promotion")
IMAGES = np.random.default_rng(0).integers(0, 256, (7, 4, 4, 3), np.uint8)


def network(row, *, multi_label=False):
  """Looks at one row of pixels, so that it sees how an image is turned."""

  def outputs(images):
    for image in images:
      logits = image[row].astype(np.float32).sum(0) / 100
      yield folded.Outputs(logits, logits[:2])

  return predictor.Predictor(
    ("a", "b", "c"), lambda data: IMAGES[0], outputs, multi_label
  )


@pytest.mark.parametrize("multi_label", [False, True])
def test_probabilities_are_means_over_networks_and_views(multi_label):
  networks = [network(row, multi_label=multi_label) for row in (0, 2)]
  kind = views.KINDS["dihedral"]
  found = averaging.mean(networks, kind)
  expected = np.mean(
    [
      list(one.probabilities(view(IMAGES))) for one in networks for view in kind
    ],
    axis=0,
  )
  # Of any number of images, one after the other.
  given = iter(IMAGES)
  rows = list(found.probabilities(given))
  np.testing.assert_allclose(rows, expected, rtol=1e-5)
  assert found.multi_label == multi_label
  np.testing.assert_array_equal(
    found.features(IMAGES), networks[0].features(IMAGES)
  )
  assert list(found.outputs(iter(()))) == []


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  root = tmp_path_factory.mktemp("averaging")
  own, new = new_sample.write(root)
  workdirs = [
    new_sample.train(own, root / name, seed=seed)
    for seed, name in enumerate(("a", "b"))
  ]
  return workdirs, new_sample.files(new)[:5]


def test_runs_and_views_are_averaged_by_the_program(trained, capsys):
  workdirs, files = trained
  arguments = [f"--workdir={path}" for path in workdirs]
  arguments += ["--tta=flips", "--top=1", *map(str, files)]
  assert predict.main(arguments) == 0
  _, *rows = capsys.readouterr().out.splitlines()
  logits = []
  for path in workdirs:
    loaded = predictor.from_workdir(path)
    images = np.stack([loaded.read_image(x.read_bytes()) for x in files])
    logits += [list(loaded.logits(v(images))) for v in views.KINDS["flips"]]
  expected = scipy.special.softmax(np.array(logits, float), axis=2).mean(0)
  for row, probabilities in zip(rows, expected, strict=True):
    _, index, _, shown, *_ = row.split(",")
    assert int(index) == probabilities.argmax()
    assert float(shown) == pytest.approx(probabilities.max(), abs=1e-4)


def test_what_cannot_be_averaged_is_refused(trained, capsys):
  workdirs, files = trained
  first, second = map(reopen.open_run, workdirs)
  section = dataclasses.replace(second.config.data, bits=12)
  config = dataclasses.replace(second.config, data=section)
  with pytest.raises(InputError, match=r"with data\.bits=16 and .* with 12;"):
    averaging.of_runs([first, dataclasses.replace(second, config=config)])
  with pytest.raises(InputError, match="--tta: got auto for a run that was"):
    averaging.of_runs([first], views="auto")
  flags = ("--conformal=0.3", "--temperature-from-val")
  for flag in flags:
    code = predict.main(
      [f"--workdir={workdirs[0]}", "--tta=flips", flag, str(files[0])]
    )
    err = capsys.readouterr().err
    assert code == 2
    assert f"{flag.split('=')[0]}: got it with several runs or --tta" in err

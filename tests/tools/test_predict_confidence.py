"""Tests of what the program that classifies images says beside the classes."""

import csv
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from mn_jax.commandline import weights_arguments
from mn_jax.data import decode
from mn_jax.deploy import confidence, folded, predictor
from mn_jax.metrics import calibration, conformal, predictions
from mn_jax.parallel import batching
from mn_jax.run import reference, reopen
from mn_jax.tools import predict
from tests import toy_transfer as toy

pytestmark = pytest.mark.usefixtures("standard_promotion")


@pytest.fixture(scope="module")
def validation(run, tmp_path_factory):
  """(folder of some validation images as files, their rows in val.npz)."""
  folder = tmp_path_factory.mktemp("validation")
  found = predictions.read(run / "predictions" / "val.npz")
  data = reopen.open_run(run).data(toy.ignore_progress)
  places = np.linspace(0, len(found.names) - 1, 40).round().astype(int)
  for place in places:
    row = found.predictions.ids[place]
    Image.fromarray(np.asarray(data.cache.images[row])).save(
      folder / f"{place:04}.png"
    )
  return folder, places


def start(capsys, workdir, *arguments):
  code = predict.main([f"--workdir={workdir}", *map(str, arguments)])
  return code, *capsys.readouterr()


def start_json(capsys, workdir, *arguments):
  code, out, err = start(capsys, workdir, "--format=json", *arguments)
  assert code == 0
  return json.loads(out), err


def test_sets_and_scores_are_those_of_validation(run, validation, capsys):
  folder, places = validation
  found = predictions.read(run / "predictions" / "val.npz")
  probabilities = found.predictions.probabilities()[places]
  rows, err = start_json(
    capsys, run, "--conformal=0.3", "--batch-size=16", folder
  )
  assert err == ""
  thresholds = conformal.calibrate(found, alpha=0.3)
  sets = thresholds.sets(probabilities)
  assert 0 < sets.mean() < 1
  assert [[x["index"] for x in row["set"]] for row in rows] == [
    np.flatnonzero(row).tolist() for row in sets
  ]
  for row, probability in zip(rows, probabilities, strict=True):
    for top in row["top"]:
      assert top["probability"] == pytest.approx(
        probability[top["index"]], abs=1e-4
      )
  kept = reference.read(run)
  opened = reopen.open_run(run)
  images = opened.data(toy.ignore_progress).cache.images
  ids = found.predictions.ids[places]
  distances, energies = kept.percentiles(
    predictor.from_run(opened).features(images[ids]),
    found.predictions.logits[places],
  )
  for name, expected in (
    ("ood_distance_percentile", distances),
    ("ood_energy_percentile", energies),
  ):
    percentages = np.array([row[name] for row in rows])
    assert percentages.min() < 15
    assert percentages.max() > 85
    np.testing.assert_allclose(percentages, expected, atol=2)
  marginal, _ = start_json(capsys, run, "--conformal=0.3", "--marginal", folder)
  overall = conformal.calibrate(found, alpha=0.3, class_conditional=False)
  assert [[x["index"] for x in row["set"]] for row in marginal] == [
    np.flatnonzero(row).tolist() for row in overall.sets(probabilities)
  ]


def test_columns_of_csv(run, validation, capsys):
  folder, _ = validation
  code, out, err = start(capsys, run, "--top=1", "--conformal=0.3", folder)
  assert (code, err) == (0, "")
  header, *rows = csv.reader(io.StringIO(out))
  assert header[4:] == [
    *("set_size", "set_indices", "set_names"),
    *("ood_distance_percentile", "ood_energy_percentile"),
  ]
  names = {"0": "no_idc", "1": "idc"}
  assert len({row[4] for row in rows}) > 1
  for row in rows:
    indices = row[5].split()
    assert row[4] == str(len(indices))
    assert row[6] == "|".join(names[i] for i in indices)
    assert 0 <= float(row[7]) <= 100
  _, out, _ = start(capsys, run, "--top=1", folder)
  assert next(csv.reader(io.StringIO(out)))[4:] == header[7:]


def test_the_temperature_changes_probabilities_and_nothing_else(
  run, validation, capsys
):
  folder, _ = validation
  val = predictions.read(run / "predictions" / "val.npz").predictions
  temperature = calibration.fit_temperature(val)
  before, _ = start_json(capsys, run, "--conformal=0.3", folder)
  after, err = start_json(
    capsys, run, "--conformal=0.3", "--temperature-from-val", folder
  )
  assert (
    err == f"predict: temperature {temperature:.4g}, fitted to validation\n"
  )
  odds = [
    [np.log(row["top"][0]["probability"] / row["top"][1]["probability"])]
    for rows in (before, after)
    for row in rows
  ]
  np.testing.assert_allclose(
    odds[: len(before)], np.array(odds[len(before) :]) * temperature, rtol=1e-6
  )
  for row in (*before, *after):
    del row["top"]
  assert before == after


def test_strange_images_are_told(run, tmp_path, capsys):
  for i, colour in enumerate(("red", "lime", "blue", "yellow", "cyan")):
    Image.new("RGB", (32, 32), colour).save(tmp_path / f"{i}.png")
  rows, err = start_json(capsys, run, tmp_path)
  beyond = [row["ood_distance_percentile"] >= 99 for row in rows]
  assert sum(beyond) >= 2
  assert err == (
    f"predict: {sum(beyond)} of 5 images are farther from the training images "
    "than 99 % of the validation images are; what is predicted for them may "
    "mean nothing\n"
  )
  assert start(capsys, run, "--precision=bfloat16", tmp_path)[2].startswith(
    "predict: validation was predicted in float32: scores, sets and a"
  )


def test_a_run_of_an_earlier_version_predicts_and_says_why_no_score(
  run, validation, tmp_path, capsys
):
  old = shutil.copytree(run, tmp_path / "old")
  (old / "reference.npz").unlink()
  folder, _ = validation
  rows, err = start_json(capsys, old, "--conformal=0.3", folder)
  assert rows[0].keys() == {"file", "top", "set"}
  assert err.startswith(f"predict: no out-of-distribution score: {old} has no ")
  assert err.count("\n") == 1
  (old / "reference.npz").write_bytes(b"PK")
  code, out, err = start(capsys, old, folder)
  assert (code, out, err.count("\n")) == (2, "", 1)
  assert "whose reference.npz cannot be read" in err
  (old / "reference.npz").unlink()
  (old / "summary.json").unlink()
  assert start(capsys, old, folder)[0] == 0
  code, out, err = start(capsys, old, "--conformal=0.3", folder)
  assert (code, out, err.count("\n")) == (2, "", 1)
  assert "a run that has not ended; valid: one that has" in err


def test_what_cannot_be_is_one_line_and_2(run, validation, tmp_path, capsys):
  folder, _ = validation
  for arguments, message in (
    (["--conformal=0.01"], "conformal: got 0.01 with "),
    (["--conformal=0.01", "--marginal"], " groups in validation; valid: 0."),
    (["--conformal=0"], "conformal: got 0.0; valid: between 0 and 1"),
    (["--conformal=1.5"], "--conformal: got 1.5; valid: 0 to 1"),
    (["--marginal"], "--marginal: got it without --conformal; valid"),
  ):
    code, out, err = start(capsys, run, *arguments, folder)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
  published = ["--model=vgg16", "--weights=x.h5", str(folder)]
  for option in ("--conformal=0.1", "--temperature-from-val"):
    assert predict.main([option, *published]) == 2
    name = option.partition("=")[0]
    assert f"{name}: got it with published weights" in capsys.readouterr().err


def test_published_weights_say_that_they_have_no_score(
  validation, tmp_path, capsys, monkeypatch
):
  monkeypatch.setattr(weights_arguments, "load", lambda args: args)
  monkeypatch.setattr(
    predictor, "fold", lambda *_, **__: toy_predictor(multi_label=False)
  )
  folder, _ = validation
  arguments = ["--model=vgg16", "--weights=x.h5", "--top=1", str(folder)]
  assert predict.main(arguments) == 0
  out, err = capsys.readouterr()
  assert out.splitlines()[0].endswith("top1_probability")
  assert err == (
    "predict: no out-of-distribution score: published weights come without "
    "images to compare with\n"
  )


def toy_predictor(*, multi_label):
  def program(images):
    shares = images.astype(np.float64).mean((1, 2)) / 255
    return folded.Outputs(np.log(shares / (1 - shares)), shares)

  return predictor.Predictor(
    classes=("red", "green", "blue"),
    read_image=lambda data: decode.decode(data, 4),
    outputs=lambda images: batching.apply_in_batches(
      program, images, batch_size=4
    ),
    multi_label=multi_label,
  )


def test_several_labels_have_columns_and_scores(tmp_path, capsys, monkeypatch):
  Image.new("RGB", (4, 4), (200, 180, 60)).save(tmp_path / "a.png")
  Image.new("RGB", (4, 4), (20, 18, 60)).save(tmp_path / "b.png")
  kept = reference.Reference(
    step=1,
    mean=np.zeros(3, np.float32),
    spread=np.ones(3, np.float32),
    features=np.eye(3, dtype=np.float16),
    names=np.array(["x", "y", "z"]),
    labels=np.ones((3, 3), np.uint8),
    distances=np.array([0.1, 0.2], np.float32),
    energies=np.array([-9, 9], np.float32),
  )
  judge = confidence.Confidence(multi_label=True, reference=kept)
  monkeypatch.setattr(
    predict, "_load_run", lambda _: (toy_predictor(multi_label=True), judge)
  )
  first, second = start_json(capsys, "x", tmp_path)[0]
  assert first["labels"]["red"] == pytest.approx(200 / 255)
  assert second["labels"]["green"] == pytest.approx(18 / 255)
  assert first["ood_energy_percentile"] == 50
  header, row, _ = start(capsys, "x", tmp_path)[1].splitlines()
  assert header == (
    "file,red,green,blue,ood_distance_percentile,ood_energy_percentile"
  )
  assert row.endswith(",0.784314,0.705882,0.235294,100.00,50.00")
  assert (
    "--top: got 2 for a run of several"
    in start(capsys, "x", "--top=2", tmp_path)[2]
  )

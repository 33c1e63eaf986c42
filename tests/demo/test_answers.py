"""Tests of what the page is told, beside the programs that say the same."""

import base64
import csv
import dataclasses
import io
import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from mn_jax.demo import answers as answers_lib
from mn_jax.demo import routes, server
from mn_jax.errors import InputError
from mn_jax.explain import saliency
from mn_jax.metrics import predictions
from mn_jax.observe import inspection_figures
from mn_jax.run import records, reopen
from mn_jax.run import reference as reference_lib
from mn_jax.tools import predict
from tests import toy_labels
from tests import toy_transfer as toy
from tests.data import hostile_images
from tests.demo.conftest import Client, serving

pytestmark = pytest.mark.usefixtures("standard_promotion")


def pixels(address):
  """The pixels of a picture as the page gets it."""
  kind, _, content = address.partition(",")
  assert kind == "data:image/png;base64"
  return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


@pytest.fixture(scope="module")
def opened(run):
  saved = reopen.open_run(run)
  return saved, saved.data(toy.ignore_progress)


@pytest.fixture(scope="module")
def answers(opened):
  with jax.numpy_dtype_promotion("standard"):
    return answers_lib.Answers(*opened)


@pytest.fixture
def client(opened, answers):
  with serving(routes.of_run(opened[0], answers)) as running:
    yield Client(running.server_port)


def png(image):
  return hostile_images.save(image, "PNG")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
  """Images of several sizes and formats."""
  folder = tmp_path_factory.mktemp("files")
  draw = np.random.default_rng(0)
  for i, (shape, kind) in enumerate(
    [((32, 32, 3), "PNG"), ((90, 70, 3), "JPEG"), ((40, 50), "BMP")]
  ):
    image = Image.fromarray(draw.integers(0, 256, shape, np.uint8))
    image.save(folder / f"{i}.{kind.lower()}", kind)
  return sorted(folder.iterdir())


def start_predict(capsys, run, *arguments):
  code = predict.main([f"--workdir={run}", "--format=json", *arguments])
  assert code == 0
  return json.loads(capsys.readouterr().out)


def test_numbers_are_those_of_predict(client, answers, run, files, capsys):
  described = answers.describe()
  assert described["alphas"] == [0.2]  # the sample has few patients
  lines = (
    ["--conformal=0.2"],
    ["--conformal=0.2", "--temperature-from-val"],
  )
  for path in files:
    status, found = client.ask("POST", "/predict", body=path.read_bytes())
    assert status == 200
    for kind, more in zip(("raw", "calibrated"), lines, strict=True):
      (row,) = start_predict(capsys, run, *more, str(path))
      expected = np.zeros(2)
      for top in row["top"]:
        expected[top["index"]] = top["probability"]
      assert found[kind] == expected.tolist()
      assert found["sets"] == {"0.2": [x["index"] for x in row["set"]]}
      assert found["distance"] == row["ood_distance_percentile"]
      assert found["energy"] == row["ood_energy_percentile"]
    assert found["raw"] != found["calibrated"]


def test_the_image_is_as_the_network_sees_it(client, opened, files):
  for path in files:
    _, found = client.ask("POST", "/predict", body=path.read_bytes())
    expected = opened[0].read_image(path.read_bytes())
    np.testing.assert_array_equal(pixels(found["image"]), expected)


def test_nearest_images_are_those_of_the_reference(client, opened):
  saved, data = opened
  reference = reference_lib.read(saved.path)
  row = np.flatnonzero(data.cache.names == reference.names[5])[0]
  image = data.cache.images[row]
  _, found = client.ask("POST", "/predict", body=png(image))
  nearest = found["nearest"]
  assert len(nearest) == 6
  assert nearest[0]["name"] == reference.names[5]
  assert nearest[0]["label"] == data.classes[reference.labels[5]]
  np.testing.assert_array_equal(pixels(nearest[0]["image"]), image)
  distances = [x["distance"] for x in nearest]
  assert distances[0] < 0.1 < distances[1]
  assert distances == sorted(distances)


def test_examples_are_of_the_test_part(client, opened):
  saved, data = opened
  listed, start = [], 0
  while len(listed) < len(data.part("test")):
    _, some = client.ask("GET", f"/examples?start={start}")
    start += len(some)
    listed += some
  rows = [x["row"] for x in listed[: len(data.part("test"))]]
  assert sorted(rows) == sorted(data.part("test").tolist())
  tested = predictions.read(saved.path / "predictions" / "test.npz")
  expected = dict(
    zip(
      tested.predictions.ids.tolist(),
      tested.predictions.probabilities().tolist(),
      strict=True,
    )
  )
  for example in listed[:5]:
    row = example["row"]
    _, found = client.ask("POST", f"/predict?example={row}", body=b"")
    assert found["raw"] == pytest.approx(expected[row], abs=1e-4)
    assert found["example"] == example
    assert example["name"] == data.cache.names[row]
    assert example["label"] == data.classes[data.cache.labels[row]]
    np.testing.assert_array_equal(
      pixels(found["image"]), data.cache.images[row]
    )
  trained = data.part("train")[0]
  for wrong in (trained, 10**8):
    status, value = client.ask("POST", f"/predict?example={wrong}", body=b"")
    assert (status, value["error"]) == (
      422,
      f"example: got {wrong}; valid: a row of the test part",
    )


@pytest.mark.parametrize(
  "method",
  [
    "grad_cam",
    "gradient",
    pytest.param("smooth_grad", marks=pytest.mark.extended),
    pytest.param("integrated_gradients", marks=pytest.mark.extended),
  ],
)
def test_saliency_is_laid_over_the_image(
  client, answers, opened, files, method
):
  saved, _ = opened
  body = files[0].read_bytes()
  image = saved.read_image(body)
  assert method in answers.describe()["methods"]
  query = f"/explain?method={method}&class=1"
  _, found = client.ask("POST", query, body=body)
  overlay = pixels(found["overlay"])
  assert overlay.shape == (32, 32, 4)
  assert found["empty"] == (not overlay[..., 3].any())
  explainer = saliency.Explainer(
    saved.module, saved.network.conventions, resolution=0
  )
  values = explainer.explain(
    method, saved.variables, image[None], np.array([1])
  )
  expected = inspection_figures.heat(
    values[0], signed=method == "integrated_gradients"
  )
  np.testing.assert_array_equal(overlay, expected)


def test_saliency_of_what_there_is_not(client, files):
  for query, text in (
    ("method=x&class=0", "method: got 'x'; valid: grad_cam, "),
    ("method=gradient&class=2", "class: got 2; valid: 0 to 1"),
    ("method=gradient&class=-1", "class: got '-1'; valid: "),
    ("method=gradient", "class: got ''; valid: "),
  ):
    status, value = client.ask(
      "POST", f"/explain?{query}", body=files[0].read_bytes()
    )
    assert status == 422
    assert text in value["error"]


def test_slides_are_those_of_the_test_part(client, opened, answers):
  saved, data = opened
  slides = answers.describe()["slides"]
  assert slides["unit"] == "patient"
  assert slides["class"] == 1
  groups = {x["name"]: x["patches"] for x in slides["groups"]}
  assert sorted(groups) == data.groups("test")
  assert sum(groups.values()) == len(data.part("test"))
  group = slides["groups"][0]["name"]
  _, found = client.ask("GET", f"/slide?group={group}&class=1")
  tested = predictions.read(saved.path / "predictions" / "test.npz")
  own = tested.groups == group
  labels = tested.predictions.labels[own]
  assert found["positive"] == pytest.approx((labels == 1).mean())
  right = tested.predictions.logits[own].argmax(axis=1) == labels
  assert found["correct"] == pytest.approx(right.mean())
  assert found["title"] == f"patient {group}, in test: {own.sum()} patches"
  truth, probability = pixels(found["truth"]), pixels(found["probability"])
  tissue = pixels(found["tissue"])
  assert truth.shape == probability.shape
  assert tissue.shape[0] % truth.shape[0] == 0
  seen = truth[..., 3] > 0
  assert seen.mean() > 0
  scale = tissue.shape[0] // truth.shape[0]
  np.testing.assert_array_equal(tissue[::scale, ::scale, 3] > 0, seen)
  other = data.groups("train")[0]
  for query, text in (
    (f"group={other}&class=1", f"group: got '{other}'; valid: "),
    ("class=1", "group: got ''; valid: "),
    (f"group={group}&class=9", "class: got 9; valid: 0 to 1"),
  ):
    status, value = client.ask("GET", f"/slide?{query}")
    assert status == 422
    assert text in value["error"]


def test_files_that_are_no_images_are_refused_in_one_line(client):
  whole = hostile_images.save(hostile_images.smooth(), "JPEG")
  bodies = {
    "no readable PNG": b"no image",
    "runcated": whole[: len(whole) // 2],
    "decompression bomb": hostile_images.promise(100_000, 100_000),
    "9000x9000 pixels; valid: ": hostile_images.promise(9000, 9000),
  }
  for text, body in bodies.items():
    status, value = client.ask("POST", "/predict", body=body)
    assert status == 422
    assert text in value["error"]
    assert "\n" not in value["error"]
  assert client.ask("POST", "/predict", body=b"")[0] == 422
  for case in hostile_images.cases():
    status, value = client.ask("POST", "/predict", body=case.data)
    assert status == (200 if case.refusal is None else 422), case.name
  # All that came before changes nothing.
  image = np.full((32, 32, 3), 90, np.uint8)
  first = client.ask("POST", "/predict", body=png(image))[1]
  assert (
    client.ask("POST", "/predict", body=png(image))[1]["raw"] == (first["raw"])
  )


def test_what_there_is_not_is_said(run, opened, tmp_path):
  saved, data = opened
  workdir = shutil.copytree(run, tmp_path / "run")
  image = np.zeros((32, 32, 3), np.uint8)

  def missing(found):
    return {x["what"]: x["why"] for x in found.describe()["missing"]}

  plain = missing(answers_lib.Answers(saved, data))
  assert [*plain] == [
    "prediction sets that miss 5%",
    "prediction sets that miss 10%",
  ]
  assert "conformal: got 0.05 with" in plain["prediction sets that miss 5%"]

  without = answers_lib.Answers(saved, None, why_no_data="it is gone")
  gone = {"examples, thumbnails and slides": "it is gone"}
  assert missing(without) == {**gone, **plain}
  found = without.predict(image)
  assert [x["image"] for x in found["nearest"]] == [None] * 6
  assert without.describe()["slides"] is None
  assert without.examples(0) == []
  with pytest.raises(InputError, match="example: got 3"):
    without.example(3)
  with pytest.raises(InputError, match="group: got '1'"):
    without.slide("1", 0)

  (workdir / "reference.npz").unlink()
  older = answers_lib.Answers(reopen.open_run(workdir), data)
  why = missing(older)["strangeness and nearest training images"]
  assert "an earlier version did not" in why
  found = older.predict(image)
  assert found["distance"] is found["energy"] is found["nearest"] is None
  assert older.describe()["strange"] is None

  (workdir / "summary.json").unlink()
  stopped = answers_lib.Answers(reopen.open_run(workdir), data)
  why = missing(stopped)["calibrated probabilities and prediction sets"]
  assert "a run that has not ended" in why
  found = stopped.predict(image)
  assert found["calibrated"] is None
  assert found["sets"] == {}
  assert sum(found["raw"]) == pytest.approx(1)
  assert stopped.describe()["results"] == ""


def test_a_damaged_file_is_refused(run, opened, tmp_path):
  workdir = shutil.copytree(run, tmp_path / "run")
  (workdir / "reference.npz").write_bytes(b"PK")
  with pytest.raises(records.DamagedError, match=r"reference\.npz"):
    answers_lib.Answers(reopen.open_run(workdir), opened[1])


def test_the_page_needs_nothing_from_elsewhere(opened, answers):
  site = routes.of_run(opened[0], answers)
  names = {"/", "/page.css", "/page.js", "/card.js", "/slide.js"}
  assert names <= set(site.pages)
  for path, answer in site.pages.items():
    text = answer.body.decode()
    for word in ("http://", "https://", "innerHTML", "eval(", "@import"):
      assert word not in text, (path, word)
    assert " style=" not in text  # the browser would not apply it
    assert " onclick=" not in text


def test_nothing_of_an_upload_is_written(client, run, files):
  def content():
    return {x: x.stat().st_mtime_ns for x in sorted(run.rglob("*"))}

  before = content()
  for path in files:
    assert client.ask("POST", "/predict", body=path.read_bytes())[0] == 200
  assert content() == before


@pytest.mark.extended
def test_several_labels_have_a_probability_each(tmp_path, capsys):
  toy_labels.write(tmp_path / "scans", 20)
  config = toy.load(
    "image_folder_v2",
    base=toy.STEPS,
    model__name="simple_cnn",
    data__path=str(tmp_path / "scans" / "columns.csv"),
    data__label=toy_labels.NAMES,
    data__group="patient",
    data__image_size=24,
  )
  toy.run(config, tmp_path / "run")
  saved = reopen.open_run(tmp_path / "run")
  answers = answers_lib.Answers(saved, saved.data(toy.ignore_progress))
  described = answers.describe()
  assert described["multi_label"]
  assert described["alphas"] == []
  assert [x["what"] for x in described["missing"]] == ["prediction sets"]
  (path, *_) = sorted((tmp_path / "scans" / "images").iterdir())
  found = answers.predict(saved.read_image(path.read_bytes()))
  for kind, more in (("raw", []), ("calibrated", ["--temperature-from-val"])):
    (row,) = start_predict(capsys, saved.path, *more, str(path))
    assert found[kind] == [row["labels"][name] for name in described["classes"]]
    assert found["distance"] == row["ood_distance_percentile"]
  assert found["sets"] == {}
  with (tmp_path / "scans" / "columns.csv").open(newline="") as file:
    rows = {row["path"]: row for row in csv.DictReader(file)}
  for image in (*found["nearest"], *answers.examples(0)):
    row = rows[image["name"]]
    names = [x for x in described["classes"] if row[x] == "1"]
    assert image["label"] == (" + ".join(names) or "no label")


def test_a_class_may_have_any_name(opened, answers):
  """Names reach the page as JSON, in ASCII, and as nothing else."""
  saved, data = opened
  names = ('</script><img src=x onerror="alert(1)">', "\udcff\u2028")
  odd = dataclasses.replace(saved, classes=names)
  site = routes.of_run(odd, answers_lib.Answers(odd, data))
  with serving(site) as running:
    client = Client(running.server_port)
    _, headers, body = client.request("GET", "/run")
    assert headers["Content-Type"] == "application/json"
    assert body.isascii()
    assert json.loads(body)["classes"] == list(names)
    for path in site.pages:
      assert names[0].encode() not in client.request("GET", path)[2]
  assert json.loads(body)["max_bytes"] == server.MAX_BYTES

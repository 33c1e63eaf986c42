"""The card of a run: its numbers, its YAML, and what it must not tell."""

import dataclasses
import json
import re

import numpy as np
import pytest
import yaml

from mn_jax.metrics import predictions
from mn_jax.observe.formatting import number
from mn_jax.report import model_card, page, run_analysis, run_report
from mn_jax.report.inspection import Inspections
from tests.metrics import toy_predictions
from tests.report import toy_runs as toy

OPTIONS = {
  "folder": "model",
  "repository": "",
  "timm": True,
  "licence": "",
  "intended_use": "",
}


def card_of(folder, classes=toy.CLASSES, **options):
  """(analysis, YAML, Markdown below it) of a run's card."""
  analysis = run_analysis.analyze(folder)
  card = model_card.build(analysis, classes=classes, **{**OPTIONS, **options})
  text = page.model_card(card)
  _, front, body = text.split("---\n", 2)
  return analysis, yaml.safe_load(front), body


def change(folder, name, **fields):
  path = folder / name
  path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_numbers_and_intervals_are_those_of_the_predictions(tmp_path):
  analysis, front, body = card_of(toy.write(tmp_path / "run"))
  for name, label in (("accuracy", "accuracy"), ("auroc", "AUROC")):
    x = analysis.intervals[name]
    cells = " | ".join(map(number, (x.value, x.low, x.high)))
    assert f"\n| {label} | {cells} |\n" in body
  assert (
    "91 images of the test part; intervals by bootstrap over patients" in body
  )
  sensitivity = number(analysis.at_threshold["sensitivity"])
  assert f"| sensitivity | {sensitivity} |" in body
  assert f"from a probability of {analysis.threshold:.3f} on" in body
  (entry,) = front["model-index"]
  (result,) = entry["results"]
  values = {m["type"]: m["value"] for m in result["metrics"]}
  assert values["accuracy"] == round(analysis.intervals["accuracy"].value, 4)
  assert values["roc_auc"] == round(analysis.intervals["auroc"].value, 4)
  assert front["library_name"] == "timm"
  assert "license" not in front


def test_no_name_of_an_image_a_group_or_a_place_is_told(tmp_path):
  folder = toy.write(tmp_path / "run")
  groups = {
    part: [f"patient{i}" for i in range(9)] for part in ("train", "test")
  }
  change(folder, "split.json", groups={**groups, "val": ["patient3"]})
  _, front, body = card_of(folder)
  for secret in (r"patient\d", r"image\d", "secret", "two patients", "run/"):
    assert not re.search(secret, body + json.dumps(front)), secret
  assert "groups: train 9, test 9, val 1" in body
  assert "9 groups of the test have images in training or validation" in body


def test_numbers_with_rounding_are_said_to_be(tmp_path):
  folder = toy.write(tmp_path / "run")
  rounded = "with that rounding. These weights compute without it"
  assert rounded not in card_of(folder)[2]
  fields = json.loads((folder / "config.json").read_text())["config"]
  fields["model"] |= {"fake_quant": "int8"}
  change(folder, "config.json", config=fields)
  analysis, _, body = card_of(folder)
  assert rounded in body
  document = run_report.build(analysis, Inspections({}, {}))
  text = page.markdown(document, "figures")
  assert "Its metrics are with model.fake_quant=int8" in text


def test_limits_are_said(tmp_path):
  _, _, body = card_of(toy.write(tmp_path / "run"))
  assert "No groups are known: images of one patient or object may be" in body
  assert "Probabilities are not calibrated: the expected calibration" in body
  assert "One training with seed 0" in body
  classes = ("cat", "dog", "cow", "emu", "rare")
  _, _, body = card_of(toy.write(tmp_path / "three", classes=classes), classes)
  assert "fewer than 30 test images: cat (6), dog (10), cow (15), emu (" in body
  assert "| class | test images | precision | recall | AUROC |" in body


def test_images_without_groups_are_no_groups(tmp_path):
  folder = toy.write(tmp_path / "run")
  # A split lists the images themselves then.
  names = {x: [f"{x}{i}.png" for i in range(9)] for x in ("val", "test")}
  change(folder, "split.json", groups=names)
  path = folder / "predictions" / "test.npz"
  dataclasses.replace(predictions.read(path), groups=None).write(path)
  _, _, body = card_of(folder)
  assert "No groups are known: images of one patient or object may be" in body
  assert "groups: " not in body


def test_labels_have_their_own_thresholds(tmp_path):
  folder, labels = toy.write(tmp_path / "run"), ("scar", "tear")
  for part, seed in (("val", 0), ("test", 1)):
    path = folder / "predictions" / f"{part}.npz"
    dataclasses.replace(
      predictions.read(path),
      predictions=toy_predictions.multi_label(
        91 if part == "test" else 60, 2, seed
      ),
      classes=labels,
      positive=None,
    ).write(path)
  analysis, _, body = card_of(folder, labels)
  exact = number(analysis.at_threshold["exact_match"])
  assert f"\n| exact match | {exact} |\n" in body
  assert "label accuracy of each label's more frequent answer" in body
  columns = "| label | test images | precision | recall | AUROC | threshold |"
  assert columns in body
  for name, limit in zip(labels, analysis.label_thresholds, strict=True):
    assert re.search(rf"\| {name} \| .*\| {number(limit)} \|\n", body)


def test_the_sensitivity_is_the_recall_of_the_hub(tmp_path):
  analysis, front, _ = card_of(toy.write(tmp_path / "run"))
  (result,) = front["model-index"][0]["results"]
  values = {m["type"]: m["value"] for m in result["metrics"]}
  assert values["recall"] == round(analysis.intervals["sensitivity"].value, 4)


def test_a_checkpoint_chosen_on_the_test_has_no_results(tmp_path):
  _, front, body = card_of(toy.write(tmp_path / "run", chosen_on="test"))
  assert "numbers there are no test, and are left out" in body
  assert "| accuracy |" not in body
  assert "model-index" not in front


def test_names_are_text_in_yaml_and_markdown(tmp_path):
  folder = toy.write(tmp_path / "run", classes=("<b>x</b>", "a|b", "- c"))
  hostile = 'x: ["\n---\n# y'
  change(folder, "summary.json", experiment=hostile, device="`a` | <img>")
  _, front, body = card_of(folder, ("<b>x</b>", "a|b", "- c"))
  assert front["model-index"][0]["name"] == hostile
  for raw in ("<b>", "<img>", "\n# y"):
    assert raw not in body
  assert "0. &lt;b>x" in body


def test_how_to_load_it_depends_on_where_it_is(tmp_path):
  folder = toy.write(tmp_path / "run")
  _, front, body = card_of(folder, timm=False)
  assert front["library_name"] == "mn_jax"
  assert 'mn_jax.load("model")' in body
  assert "timm.create_model" not in body
  _, front, body = card_of(
    folder, repository="lab/idc", licence="cc-by-4.0", intended_use="For *us*."
  )
  assert 'timm.create_model("hf-hub:lab/idc", pretrained=True)' in body
  assert "mn-jax predict --weights=hf:lab/idc photo.jpg" in body
  assert "\n# idc\n" in body
  assert "For \\*us\\*." in body
  assert front["license"] == "cc-by-4.0"


def test_the_weights_it_started_from_are_named(tmp_path):
  folder = toy.write(tmp_path / "run")
  weights = "hf:timm/a@v1 at commit 0123456789ab: model.safetensors (timm, ...)"
  change(folder, "summary.json", weights=weights, transfer="fine_tune")
  _, front, body = card_of(folder)
  assert front["base_model"] == "timm/a"
  assert "fine-tuned from hf:timm/a@v1 at commit 0123456789ab" in body
  change(folder, "summary.json", transfer="frozen")
  assert "a new head on the fixed backbone of hf:timm" in card_of(folder)[2]


def test_the_hub_reads_the_card(tmp_path):
  hub = pytest.importorskip("huggingface_hub", reason="needs the extra 'hub'")
  analysis = run_analysis.analyze(toy.write(tmp_path / "run"))
  card = model_card.build(analysis, classes=toy.CLASSES, **OPTIONS)
  read = hub.ModelCard(page.model_card(card))
  values = {x.metric_type: x.metric_value for x in read.data.eval_results}
  accuracy = analysis.intervals["accuracy"].value
  np.testing.assert_allclose(values["accuracy"], accuracy, atol=1e-4)
  assert read.data.pipeline_tag == "image-classification"


def test_a_teacher_is_named_without_its_folder(tmp_path):
  folder = toy.write(tmp_path / "run")
  assert "teacher" not in card_of(folder)[2]
  teacher = {
    "name": "/home/somebody/secret",
    "model": "resnet50",
    "weight": 0.9,
    "temperature": 4.0,
    "notes": ["the teacher knows some images: metrics promise too much"],
  }
  change(folder, "summary.json", teacher=teacher)
  body = card_of(folder)[2]
  assert "resnet50, weight 0.9, temperature 4; the teacher knows" in body
  assert "secret" not in body

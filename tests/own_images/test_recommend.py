"""Tests of the settings that are recommended for a user's own images."""

import dataclasses

import ml_collections
import numpy as np
import pytest
from PIL import Image

from mn_jax.config import Config, checks, overrides
from mn_jax.config.sections.data import DataConfig
from mn_jax.errors import InputError
from mn_jax.own_images import recommend
from mn_jax.run import open_data

FOLDER = {"name": "image_folder"}


def some_facts(**values) -> recommend.Facts:
  return recommend.Facts(
    **{
      "classes": ("cat", "dog"),
      "counts": np.array([600, 400]),
      "images": 1000,
      "train": 650,
      "groups": 0,
      "test_part": False,
      "multi_label": False,
      "sizes": np.array([[480, 640]] * 5),
      **values,
    }
  )


def decided(given=(), *, imagenet=False, **values) -> dict:
  """The fields that are chosen; they must make a valid config."""
  given = dict(given)
  chosen = recommend.fields(
    recommend.choices(some_facts(**values), given, imagenet=imagenet)
  )
  assert chosen.keys().isdisjoint(given)
  config = dataclasses.asdict(Config())
  for path, value in {**chosen, **given}.items():
    overrides.put(config, path, value)
  checks.from_config_dict(ml_collections.ConfigDict(config))
  return chosen


def test_photographs_with_weights_are_fine_tuned():
  chosen = decided(imagenet=True)
  assert chosen["model.name"] == "mobilenet_v2"
  assert chosen["model.weights"] == "imagenet"
  assert chosen["model.transfer"] == "fine_tune"
  assert chosen["model.match_statistics"] > 0
  assert (chosen["data.image_size"], chosen["data.other_sizes"]) == (
    224,
    "crop",
  )
  assert chosen["train.patience"] > 0
  assert chosen["train.class_weights"] == "balanced"
  scratch = decided()
  assert scratch.keys().isdisjoint({"model.weights", "model.transfer"})
  assert scratch["train.epochs"] > chosen["train.epochs"]
  assert scratch["optim.learning_rate"] > chosen["optim.learning_rate"]


def test_without_weights_it_says_how_to_get_them():
  (network,) = (
    choice
    for choice in recommend.choices(some_facts(), {}, imagenet=False)
    if "model.name" in choice.fields
  )
  assert "from scratch" in network.reason
  assert "--weights=hf:timm/mobilenetv2_100.ra_in1k downloads" in network.reason
  assert "--weights" in network.reason


@pytest.mark.parametrize(
  ("size", "stored", "resolution"),
  [((28, 28), 32, 64), ((64, 64), 64, None), ((150, 400), 160, None)],
)
def test_small_images_are_not_stored_larger(size, stored, resolution):
  chosen = decided(sizes=np.array([size] * 3))
  assert chosen["data.image_size"] == stored
  assert chosen.get("model.resolution") == resolution
  long = size[1] > 2 * size[0]
  assert chosen["data.other_sizes"] == ("resize" if long else "crop")


def test_a_network_gets_images_of_its_own_size():
  given = {"model.name": "inception_v3"}
  chosen = decided(given, imagenet=True)
  assert chosen["data.image_size"] == 299
  # Its BatchNorm has no scale, so statistics cannot be matched.
  assert "model.match_statistics" not in chosen
  assert decided(given, sizes=np.array([[40, 40]]))["model.resolution"] == 75


def test_more_images_need_fewer_epochs():
  epochs = [
    decided(imagenet=True, train=n)["train.epochs"]
    for n in (40, 650, 6500, 10**6)
  ]
  assert epochs == sorted(epochs, reverse=True)
  assert epochs[0] > epochs[-1] >= 5


def test_a_batch_leaves_some_steps_in_an_epoch():
  assert decided(train=13)["train.batch_size"] == 2
  assert decided(train=100)["train.batch_size"] == 16
  assert decided()["train.batch_size"] == 32
  assert decided(sizes=np.array([[50, 50]]))["train.batch_size"] == 64


@pytest.mark.parametrize(
  ("counts", "weights"), [((500, 400), "none"), ((900, 100), "balanced")]
)
def test_class_weights_where_classes_are_of_unequal_size(counts, weights):
  found = recommend.choices(
    some_facts(counts=np.array(counts)), {}, imagenet=False
  )
  (choice,) = (c for c in found if "train.class_weights" in c.fields)
  assert choice.fields["train.class_weights"] == weights
  assert f"{counts[0] / counts[1]:.1f} times" in choice.reason


def test_imbalance_is_corrected_once():
  counts = np.array([900, 100])
  for given in ({"data.sampling": "balanced"}, {"train.logit_adjustment": 1.0}):
    assert "train.class_weights" not in decided(given, counts=counts)


def test_several_labels_have_no_class_weights():
  chosen = decided(multi_label=True, counts=np.array([900, 100]))
  assert "train.class_weights" not in chosen


@pytest.mark.parametrize(
  ("given", "warmup"),
  [
    ({"train.steps": 20}, {"optim.warmup_steps": 2}),
    ({"train.examples": 500}, {"optim.warmup_examples": 50}),
    ({"train.epochs": 1.0}, {"optim.warmup_epochs": 0.1}),
    ({"train.steps": 20, "optim.warmup_steps": 1}, {}),
  ],
)
def test_a_length_that_is_given_is_the_only_one(given, warmup):
  chosen = decided(given)
  assert "train.epochs" not in chosen
  found = {k: v for k, v in chosen.items() if k.startswith("optim.warmup")}
  assert found == pytest.approx(warmup)


def test_small_batches_fine_tune_at_a_lower_rate():
  rates = [
    decided({"train.batch_size": size}, imagenet=True)["optim.learning_rate"]
    for size in (256, 64, 32, 8)
  ]
  assert rates == pytest.approx([1e-3, 1e-3, 5e-4, 1.25e-4])


def test_several_seeds_have_no_early_stopping():
  assert decided({"train.replicas": 2})["train.patience"] == 0


def test_frozen_weights_have_no_augmentation():
  chosen = decided({"model.transfer": "frozen"})
  assert chosen["model.weights"] == "imagenet"
  assert "model.match_statistics" not in chosen
  assert not any(name.startswith("augment.") for name in chosen)


def test_weights_that_are_given_are_fine_tuned():
  chosen = decided({"model.weights": "mine.h5"})
  assert chosen["model.transfer"] == "fine_tune"
  assert "model.transfer" not in decided({"model.weights": ""}, imagenet=True)


def test_another_optimizer_needs_a_rate():
  assert "optim.weight_decay" not in decided({"optim.name": "adam"})
  with pytest.raises(InputError, match=r"optim\.learning_rate: got nothing"):
    decided({"optim.name": "sgd"})
  decided({"optim.name": "sgd", "optim.learning_rate": 0.1})


def _photos(root, counts, size=(40, 30)) -> None:
  for name, count in counts.items():
    for number in range(count):
      path = root / name / f"{number}.png"
      path.parent.mkdir(parents=True, exist_ok=True)
      Image.new("RGB", size, (number, 0, 0)).save(path)


def facts_of(section: DataConfig) -> recommend.Facts:
  with open_data.open_source(section) as source:
    return recommend.facts(section, source)


def test_facts_of_a_folder(tmp_path):
  _photos(tmp_path, {"a": 6, "b": 3, "c": 1})
  (tmp_path / "a" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
  facts = facts_of(DataConfig(**FOLDER, path=str(tmp_path)))
  assert facts.classes == ("a", "b", "c")
  # What is broken is known only when it is decoded.
  assert facts.counts.tolist() == [7, 3, 1]
  assert (facts.images, facts.train, facts.groups) == (11, 7, 0)
  assert not facts.test_part
  assert (facts.short_side, len(facts.sizes)) == (30, 10)
  assert facts.aspect == pytest.approx(4 / 3)
  two = facts_of(DataConfig(**FOLDER, path=str(tmp_path), classes=2))
  assert two.counts.tolist() == [7, 3]
  assert two.images == 10


def test_facts_of_groups_and_parts(tmp_path):
  _photos(tmp_path, {"a": 4, "b": 4})
  pattern = r"(\d)\.png"
  assert facts_of(DataConfig(**FOLDER, path=str(tmp_path))).groups == 0
  section = DataConfig(
    name="image_folder", path=str(tmp_path), group_pattern=pattern
  )
  assert facts_of(section).groups == 4
  parts = tmp_path / "parts"
  _photos(parts, {"train/a": 4, "train/b": 2, "test/a": 3, "test/b": 5})
  facts = facts_of(DataConfig(**FOLDER, path=str(parts)))
  assert facts.test_part
  assert facts.counts.tolist() == [4, 2]
  assert (facts.images, facts.train) == (14, 6)


def test_images_of_which_none_can_be_read(tmp_path):
  for name in ("a", "b"):
    (tmp_path / name).mkdir()
    (tmp_path / name / "x.png").write_bytes(b"nothing")
  with pytest.raises(InputError, match="none can be read"):
    facts_of(DataConfig(**FOLDER, path=str(tmp_path)))

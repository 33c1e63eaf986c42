"""Predictions that need no network."""

import numpy as np

from mn_jax.metrics.predictions import Predictions


def of(
  labels: np.ndarray, logits: np.ndarray, losses: np.ndarray | None = None
) -> Predictions:
  n = len(labels)
  kind = np.uint8 if np.ndim(labels) == 2 else np.int32
  return Predictions(
    ids=np.arange(n, dtype=np.int32),
    labels=np.asarray(labels, kind),
    logits=np.asarray(logits, np.float32),
    losses=np.ones(n, np.float32) if losses is None else losses,
  )


def random(n: int, classes: int, seed: int = 0) -> Predictions:
  """Better than chance, unbalanced, with many ties."""
  rng = np.random.default_rng(seed)
  labels = rng.choice(
    classes, n, p=np.arange(1, classes + 1) * 2 / classes / (classes + 1)
  )
  logits = np.round(rng.normal(size=(n, classes)), 1)
  logits[np.arange(n), labels] += 0.5
  return of(labels, logits, rng.random(n).astype(np.float32))


def binary(labels: list[int], scores: list[float]) -> Predictions:
  """Of two classes, where class 1 has the probabilities `scores`."""
  scores = np.asarray(scores, np.float64)
  with np.errstate(divide="ignore"):
    logits = np.stack([0 * scores, np.log(scores) - np.log1p(-scores)], axis=1)
  return of(labels, np.clip(logits, -1e4, 1e4))


def take(predictions: Predictions, rows: np.ndarray) -> Predictions:
  return Predictions(**{k: v[rows] for k, v in vars(predictions).items()})


def extremes() -> dict[str, Predictions]:
  """What is tied, lacks a class or lies at the ends of the numbers."""
  rng = np.random.default_rng(7)
  labels = rng.integers(0, 4, 60)
  logits = rng.normal(size=(60, 4))
  return {
    "tied": of(labels, np.round(logits)),
    "constant": of(labels, np.zeros((60, 4))),
    "one class": of(np.full(60, 2), logits),
    "never found": of(labels, np.where(np.arange(4) == 1, -9, logits)),
    "missing class": of(labels % 3, logits),
    "huge": of(labels, 1e30 * logits),
    "tiny": of(labels, 1e-30 * logits),
    "all right": of(labels, 50 * np.eye(4)[labels]),
    "all wrong": of(labels, -50 * np.eye(4)[labels]),
    "one image": of([1], logits[:1]),
    "two classes": of(labels % 2, logits[:, :2]),
    "two, one missing": of(labels * 0, logits[:, :2]),
  }


def multi_label(n: int, classes: int, seed: int = 0) -> Predictions:
  """Better than chance, labels of different frequency, with many ties."""
  rng = np.random.default_rng(seed)
  shares = np.linspace(0.1, 0.7, classes)
  labels = (rng.random((n, classes)) < shares).astype(np.uint8)
  logits = np.round(rng.normal(size=(n, classes)) + labels - 0.5, 1)
  return of(labels, logits, rng.random(n).astype(np.float32))

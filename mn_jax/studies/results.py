"""Results of a study: the summaries of its runs as tables of numbers.

Test metrics count only where the test set chose nothing: those of a run whose
checkpoint was selected on the test set are left out, and reported as refused.
"""

import collections
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.stats

from mn_jax.config import files
from mn_jax.metrics import comparison, estimates
from mn_jax.observe import formatting
from mn_jax.observe.console import Console
from mn_jax.observe.formatting import jsonable, mean_std, metric_name
from mn_jax.run import records
from mn_jax.studies import claims as claims_lib
from mn_jax.studies import evidence as evidence_lib
from mn_jax.studies import split_baselines
from mn_jax.studies.evidence import Evidence
from mn_jax.studies.numbers import Numbers
from mn_jax.studies.study import Study, StudyRun

# As many metrics as a terminal of 80 columns has room for.
_COLUMNS = 3


def collect(
  study: Study, runs: Sequence[StudyRun], *, sample: bool = False
) -> dict[str, Any]:
  """Returns the results of a study as values that JSON can hold.

  Args:
    study: the study.
    runs: all of its runs, complete or not.
    sample: whether they are on generated images, which decide no claim.

  Returns:
    'members': for each member its number of runs, the metrics by
    `Numbers.for_json` (mean over seeds, 'std', interval, and that over seeds
    and over groups alone), the same for each published metric ('published',
    with the published number as 'there'), 'refused' (seeds whose test metrics
    do not count), parameters, mult-adds, wall time and digests of splits;
    'baseline_rows': for each row and baseline its metrics on the splits of that
    row's seeds, and 'ahead', the row minus the baseline;
    'pairs': for each compared pair the same numbers of the difference over the
    seeds that both have, the p-values of its test ('p', and 'p_holm', adjusted
    for the number of pairs) and of Wilcoxon's ('p_wilcoxon'), and 'images', how
    many only one of them has right; and 'claims' by `claims.judge` with the
    number of seeds 'wanted', none of a sample. What is undefined for so few
    seeds is None.
  """
  rows = evidence_lib.read(runs)
  wanted = collections.Counter(run.member.name for run in runs)
  baselines = split_baselines.rows(study_folder(runs), rows)
  evidence = Evidence(
    {
      **rows,
      **{
        _baseline_row(name, row): of_seed
        for row, of_name in baselines.items()
        for name, of_seed in of_name.items()
      },
    }
  )
  return {
    "title": study.title,
    "source": study.source,
    "sample": sample,
    "metrics": list(study.metrics),
    "members": [
      {
        "name": member.name,
        "config": member.config,
        "fields": dict(member.fields),
        "weights": member.weights,
        "note": member.note,
        "seeds": sorted(of_seed),
        "refused": evidence_lib.refused_seeds(of_seed),
        "wanted": wanted[member.name],
        "metrics": {
          name: evidence.measure(member.name, "", f"test/{name}").for_json()
          for name in study.metrics
        },
        "published": {
          key: {
            "there": value,
            **evidence.measure(member.name, "", key).for_json(),
          }
          for key, value in member.published.items()
        },
        **_shared_facts([x.summary for x in of_seed.values()]),
      }
      for member in study.members
      for of_seed in [rows.get(member.name, {})]
    ],
    "baseline_rows": _compared_baselines(study, evidence, baselines),
    "pairs": _compared_pairs(study, evidence),
    "claims": [] if sample else _judged_claims(study, evidence, runs),
  }


def finish(
  console: Console,
  study: Study,
  runs: Sequence[StudyRun],
  *,
  sample: bool = False,
) -> None:
  """Writes `results.json`; prints metrics, compared pairs and claims."""
  results = collect(study, runs, sample=sample)
  path = study_folder(runs) / "results.json"
  records.write_object(path, results)
  show_damage(console, runs)
  show(console, results)
  console.line(f"Results: {path}")


def show(console: Console, results: Mapping[str, Any]) -> None:
  """Prints metrics, compared pairs and claims of what `collect` returned.

  Rows that are not selected, and claims about such rows, are left out.
  """
  metrics = results["metrics"][:_COLUMNS]
  rows = [
    (
      member["name"],
      f"{len(member['seeds'])}/{member['wanted']}",
      *(mean_std(spread[x]["mean"], spread[x]["std"]) for x in metrics),
    )
    for member in results["members"]
    if member["wanted"] or member["seeds"]
    for spread in [member["metrics"]]
  ]
  columns = ("member", "runs", *map(metric_name, metrics))
  console.table(results["title"], columns, rows)
  for pair in results["pairs"]:
    difference = pair["metrics"][metrics[0]]
    if difference["mean"] is None:
      continue
    line = f"{metric_name(metrics[0])}, {' minus '.join(pair['members'])}: "
    line += formatting.number(difference["mean"], signed=True)
    if difference["low"] is not None:
      ends = (difference["low"], difference["high"])
      line += f" ({formatting.interval(*ends, signed=True)})"
    console.line(line)
  show_claims(console, results["claims"])


def planned_claims(
  study: Study, runs: Sequence[StudyRun]
) -> list[dict[str, Any]]:
  """Returns the claims before a study is run, by the runs there are.

  Few resamples are drawn, as all that matters is how many seeds are needed.
  """
  evidence = Evidence(evidence_lib.read(runs), resamples=50)
  return _judged_claims(study, evidence, runs)


def _judged_claims(
  study: Study, evidence: Evidence, runs: Sequence[StudyRun]
) -> list[dict[str, Any]]:
  """The claims with verdicts, and how many seeds are 'wanted' and at 'most'."""
  wanted = collections.Counter(run.member.name for run in runs)
  judged = claims_lib.judge(study.claims, evidence, planned_ratios(runs))
  return [
    {
      **claim,
      "wanted": min(wanted[x] for x in (claim["one"], claim["other"]) if x),
      "most": study.folds or estimates.MOST_SEEDS,
    }
    for claim in judged
  ]


def show_claims(console: Console, claims: Sequence[Mapping[str, Any]]) -> None:
  """Prints each claim's margin, the seeds that it needs, and its verdict.

  Args:
    console: for people.
    claims: as `collect` returns them; those about rows that are not selected
      are left out.
  """
  rows = [
    (
      claim["text"],
      formatting.compact(claim["margin"]),
      seeds_needed(claim),
      seeds_run(claim),
      claim["verdict"],
    )
    for claim in claims
    if claim["wanted"] or claim["seeds"]
  ]
  if not rows:
    return
  columns = ("claim", "margin", "needs", "seeds", "verdict")
  console.table("Claims", columns, rows)


def seeds_needed(claim: Mapping[str, Any]) -> str:
  """Formats '5 (8)': the seeds that a claim needs, and with Holm's adjustment.

  Args:
    claim: as `collect` returns it; one of an earlier version has no 'most'.
  """
  if not claim["spread_from"]:
    return "not known"
  most = claim.get("most", estimates.MOST_SEEDS)
  alone, adjusted = (
    f"over {most}" if (claim[name] or math.inf) > most else str(claim[name])
    for name in ("seeds_alone", "seeds_needed")
  )
  return alone if alone == adjusted else f"{alone} ({adjusted})"


def seeds_run(claim: Mapping[str, Any]) -> str:
  """Formats '3 of 5': the seeds that a claim has of those that it is to have.

  Args:
    claim: as `collect` returns it; one of an earlier version has the first.
  """
  done = len(claim["seeds"])
  wanted = claim.get("wanted", done)
  return f"{done} of {wanted}" if wanted > done else str(done)


def show_damage(console: Console, runs: Sequence[StudyRun]) -> None:
  """Names the runs whose summaries cannot be read, and so do not count."""
  for run in runs:
    if damage := run.damage():
      console.line(f"Left out: {run.title()}: {damage}")


def summaries_by_member(
  runs: Sequence[StudyRun],
) -> dict[str, dict[int, dict[str, Any]]]:
  """Returns member -> seed -> `summary.json` of its complete runs."""
  summaries = collections.defaultdict(dict)
  for run in runs:
    if (summary := run.summary()) is not None:
      summaries[run.member.name][run.seed] = summary
  return summaries


def study_folder(runs: Sequence[StudyRun]) -> pathlib.Path:
  """Returns the folder of all runs of a study, or of all that are kept."""
  kept = runs[0].kept
  return kept.parents[2] if kept else runs[0].workdir.parents[1]


def _baseline_row(name: str, row: str) -> str:
  """A name that no row has."""
  return f"{name} / {row}"


def _compared_baselines(
  study: Study, evidence: Evidence, baselines: Mapping[str, Sequence[str]]
) -> list[dict[str, Any]]:
  """Baselines on the splits of each row, and how far the row is ahead.

  Args:
    study: the study.
    evidence: with a row for each baseline of a row.
    baselines: row -> names of baselines.
  """
  found = []
  for row, name in ((x, name) for x in baselines for name in baselines[x]):
    metrics = {}
    for metric in study.metrics:
      key, baseline = f"test/{metric}", _baseline_row(name, row)
      ahead = evidence.measure(row, baseline, key)
      metrics[metric] = {
        **evidence.measure(baseline, "", key).for_json(),
        "ahead": {**ahead.for_json(), **_p_values(ahead)},
      }
    found.append({"name": name, "row": row, "metrics": metrics})
  planned = {x.name for x in study.members if not x.optional}
  for name in {x["name"] for x in found}:
    of_name = [x for x in found if x["name"] == name]
    to_come = len(planned - {x["row"] for x in of_name})
    for metric in study.metrics:
      _adjust([x["metrics"][metric]["ahead"] for x in of_name], to_come)
  return found


def _adjust(differences: Sequence[dict[str, Any]], to_come: int = 0) -> None:
  """Adds 'p_holm' to differences that are tested together.

  Args:
    differences: with 'p'.
    to_come: number of more that are planned.
  """
  p_values = [math.nan if x["p"] is None else x["p"] for x in differences]
  planned = [*p_values, *[math.nan] * to_come]
  adjusted = comparison.holm(planned).tolist()[: len(differences)]
  for difference, p in zip(differences, adjusted, strict=True):
    difference |= jsonable({"p_holm": p})


def planned_ratios(runs: Sequence[StudyRun]) -> dict[str, float]:
  """Returns row -> test over training images, where seeds split data anew.

  It is 0 where they all share the split, or the publisher's test.
  """
  ratios, seeds_of_split = {}, collections.defaultdict(set)
  for run in runs:
    data = files.load_config(run.member.config, run.arguments[1:]).data
    name = run.member.name
    seeds_of_split[name].add((data.split_seed, data.fold))
    test = data.test_fraction
    if data.split == "kfold" and data.folds:
      test = 1 / data.folds
    train = 1 - data.val_fraction - test
    ratio = test / (train * data.train_fraction)
    is_anew = len(seeds_of_split[name]) > 1 and data.split != "fixed"
    ratios[name] = ratio if is_anew else 0.0
  return ratios


def _compared_pairs(study: Study, evidence: Evidence) -> list[dict[str, Any]]:
  pairs = []
  for one, other in study.pairs:
    numbers = {
      name: evidence.measure(one, other, f"test/{name}")
      for name in study.metrics
    }
    images = evidence.compare_images(one, other)
    pairs.append(
      {
        "members": [one, other],
        "metrics": {
          name: {**x.for_json(), **_p_values(x)} for name, x in numbers.items()
        },
        "images": None if images is None else jsonable(images),
      }
    )
  for name in study.metrics:
    _adjust([pair["metrics"][name] for pair in pairs])
  return pairs


def _p_values(difference: Numbers) -> dict[str, Any]:
  """Two-sided, against no difference.

  There is none of fewer than three seeds, or where one has no such metric.
  The signed-rank test (Wilcoxon 1945) leaves equal pairs out, and of five pairs
  is never below 1/16.
  """
  p = wilcoxon = math.nan
  enough = len(difference.values) >= claims_lib.LEAST_SEEDS
  if enough and not difference.undefined:
    estimate = difference.estimate
    p = 2 * min(estimate.chance_below(0.0), estimate.chance_above(0.0))
    gaps = np.array(difference.values)
    if gaps.any():
      wilcoxon = float(scipy.stats.wilcoxon(gaps[gaps != 0]).pvalue)
  return jsonable({"p": min(p, 1.0), "p_wilcoxon": wilcoxon})


def _shared_facts(summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  if not summaries:
    return {}
  first = summaries[0]
  shared = ("model", "params", "macs", "epochs", "split", "device", "versions")
  return {
    **{name: first[name] for name in shared},
    "wall_seconds": float(np.mean([s["wall_seconds"] for s in summaries])),
    "split_sha256": sorted({s["split_sha256"] for s in summaries}),
    "images_sha256": sorted({s["images_sha256"] for s in summaries}),
  }

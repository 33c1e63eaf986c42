"""The claims of a study as a report shows them: verdicts, and seeds needed."""

import math
from collections.abc import Mapping
from typing import Any

from mn_jax.metrics.estimates import MOST_SEEDS
from mn_jax.observe.formatting import (
  compact,
  interval,
  metric_name,
  number,
  p_value,
)
from mn_jax.report.tables import Table
from mn_jax.studies import claims as claims_lib
from mn_jax.studies import results as study_results
from mn_jax.studies.claims import LEAST_SEEDS

# How a page marks a verdict.
_SIGNS = {
  claims_lib.HOLDS: "yes",
  claims_lib.FAILS: "no",
  claims_lib.OPEN: "open",
  claims_lib.NOT_RUN: "missing",
}


def claim_row(claim: Mapping[str, Any]) -> tuple[str, str, str, str]:
  """Returns (sign, verdict, text, numbers) of a claim of results.json.

  Args:
    claim: of `claims.judge`; one of an earlier version has no p-values.
  """
  relation = {">": "above", "<": "below", "=": "within"}[claim["relation"]]
  goal = compact(claim["value"])
  if claim["relation"] == "=":
    goal = f"±{goal}"
  metric = metric_name(claim["metric"].removeprefix("test/"))
  signed = bool(claim["other"])
  subject = f"{claim['one']} minus {claim['other']}" if signed else claim["one"]
  numbers = f"{metric} of {subject}: "
  if claim["mean"] is None:
    numbers += "no runs"
  else:
    numbers += number(claim["mean"], signed=signed)
    if claim["low"] is not None:
      numbers += f" ({interval(claim['low'], claim['high'], signed=signed)})"
    seeds = study_results.seeds_run(claim)
    numbers += f", {seeds} seed{'s' * (seeds != '1')}"
  numbers += f"; claimed: {relation} {goal}"
  if claim.get("p_holm") is not None:
    numbers += f"; Holm's p {p_value(claim['p_holm'])}"
  if claim["verdict"] == claims_lib.OPEN and claim.get("reason"):
    numbers += f"; {claim['reason']}{_limit(claim)}"
  return _SIGNS[claim["verdict"]], claim["verdict"], claim["text"], numbers


def _limit(claim: Mapping[str, Any]) -> str:
  """Says whether seeds or the test limit a claim that is not decided."""
  if not claim.get("spread_from") or len(claim["seeds"]) < LEAST_SEEDS:
    return ""
  margin, most = compact(claim["margin"]), claim.get("most", MOST_SEEDS)
  alone = claim["reason"] != claims_lib.BY_HOLM
  needed = claim["seeds_alone" if alone else "seeds_needed"] or math.inf
  if needed > most:
    what = "folds" if most < MOST_SEEDS else "seeds"
    return f", and even {most} {what} would not tell a margin of {margin}"
  if needed > len(claim["seeds"]):
    return f", and a margin of {margin} takes {needed} seeds"
  return f", with seeds enough for a margin of {margin}" if alone else ""


def plan_table(results: Mapping[str, Any]) -> Table:
  """Returns the margins of claims, and how many seeds they need.

  Args:
    results: content of results.json.
  """
  rows = [
    (
      claim["text"],
      ("±" if claim["relation"] == "=" else "") + compact(claim["margin"]),
      number(claim["spread"]),
      claim["spread_from"] or "not known",
      study_results.seeds_needed(claim),
      study_results.seeds_run(claim),
    )
    for claim in results["claims"]
    if "spread_from" in claim
  ]
  return Table(
    ("claim", "margin", "spread", "which is", "seeds needed", "seeds run"),
    rows,
    "How many seeds decide a claim with a chance of 80 %, if the truth is its "
    "margin away (of ±: if there is no difference), by the standard deviation "
    "over seeds; in brackets with Holm's adjustment for all claims at its "
    "strictest. 'Over' a hundred, or the number of folds: the test is too "
    "small or splits overlap too much for this margin.",
  )

"""The scaling program's arguments, and what it says of wrong ones."""

import json

import pytest

from mn_jax.perf.scaling import points
from mn_jax.perf.scaling.measure import series as series_lib
from mn_jax.perf.scaling.plan import plan
from mn_jax.tools import scaling
from tests.perf.scaling import toy_scaling as toy

CONFIG = "--config=configs/idc_v1.py:sample"


@pytest.fixture
def asked(monkeypatch):
  """What measuring and planning are asked for; neither does anything."""
  found = []

  def measured(config, series, **rest):
    found.append((config, series, rest))
    return []

  def planned(config, **rest):
    found.append((config, rest))

  monkeypatch.setattr(series_lib, "run", measured)
  monkeypatch.setattr(plan, "run", planned)
  return found


def test_measure_takes_its_flags_and_the_fields_of_a_config(asked, tmp_path):
  line = [
    "measure",
    CONFIG,
    "--config.model.width=0.5",
    "--config.augment.flip=none",
    "--config.augment.quarter_turns=false",
    "--config.optim.decay_at=(0.1, 0.2)",
    "--config.seed=3",
    "--devices=8,1-4,3",
    "--processes=1,2",
    "--scaling=strong",
    "--input=real,cached",
    "--global-batch=8",
    "--steps=7",
    "--repeats=2",
    "--timeout=9",
    f"--output={tmp_path / 'out'}",
  ]
  assert scaling.main(line) == 0
  ((config, series, rest),) = asked
  assert config.data.name == "idc_sample"
  assert (config.model.width, config.seed) == (0.5, 3)
  assert (config.augment.flip, config.augment.quarter_turns) == ("none", False)
  assert config.optim.decay_at == (0.1, 0.2)
  assert series == points.Series(
    scalings=("strong",),
    inputs=("real", "cached"),
    devices=(1, 2, 3, 4, 8),
    processes=(1, 2),
    batch_per_device=64,
    global_batch=8,
    repeats=2,
    steps=7,
  )
  assert rest["output"] == tmp_path / "out"
  assert rest["timeout"] == 9
  assert rest["command"].startswith(
    f"python -m mn_jax.tools.scaling measure {CONFIG} "
  )
  assert "'--config.optim.decay_at=(0.1, 0.2)'" in rest["command"]


def test_failed_points_are_the_exit_code(asked, tmp_path, monkeypatch):
  monkeypatch.setattr(series_lib, "run", lambda *_, **__: [toy.point()])
  line = ["measure", CONFIG, "--devices=1", f"--output={tmp_path}"]
  assert scaling.main(line) == 1


def test_plan_takes_its_flags(asked, tmp_path):
  line = ["plan", CONFIG, "--chips=v5e,H100", "--counts=1-256"]
  for more, batch_per_chip, scaled in (
    ((), None, "weak"),
    (("--batch-per-chip=64", "--scaling=strong"), 64, "strong"),
    (("--batch-per-chip=largest",), None, "weak"),
  ):
    assert scaling.main([*line, *more, f"--output={tmp_path}"]) == 0
    _, rest = asked.pop()
    assert rest["chips"] == ("v5e", "H100")
    assert rest["counts"] == (1, 2, 4, 8, 16, 32, 64, 128, 256)
    assert (rest["batch_per_chip"], rest["scaling"]) == (batch_per_chip, scaled)


MEASURE = ("measure", CONFIG, "--output=x")
PLAN = ("plan", CONFIG, "--output=x")


def test_mistakes_are_one_line(capsys, asked):
  for line, said in (
    ((), "the following arguments are required: VERB"),
    (("run",), "invalid choice: 'run'"),
    (("measure", "--devices=1", "--output=x"), "are required: --config"),
    (MEASURE, "are required: --devices"),
    ((*MEASURE, "--devices=0"), "--devices: got 0; valid: 1 or more"),
    ((*MEASURE, "--devices=4-2"), "got '4-2'; valid: 1,2,4 or 1-8"),
    ((*MEASURE, "--devices=one"), "--devices: got one; valid: 1 or more"),
    ((*MEASURE, "--devices=1", "--input=tape"), "got 'tape'; valid: synthet"),
    ((*MEASURE, "--devices=1", "--scaling=up"), "got 'up'; valid: weak, str"),
    ((*MEASURE, "--devices=1", "--repeats=0"), "--repeats: got 0; valid"),
    ((*MEASURE, "--devices=1", "--step=3"), "got '--step=3'; valid: see"),
    (
      (*MEASURE, "--devices=1", "--config.model.wide=2"),
      "model.wide: unknown field; valid: name, width",
    ),
    (
      (*MEASURE, "--devices=1", "--config.model.width"),
      "--config.model.width: got no value",
    ),
    (
      (*MEASURE, "--devices=1", "--config.optim.decay_at=half"),
      "optim.decay_at: got 'half'; valid: a tuple",
    ),
    (
      (*MEASURE, "--devices=1", "--config.model.width=99"),
      "model.width: got 99.0; valid: 0.05 to 4",
    ),
    (
      ("measure", "--config=nowhere.py", "--devices=1", "--output=x"),
      "config: got 'nowhere.py'; valid: the path of an",
    ),
    (
      ("measure", f"{CONFIG}s", "--devices=1", "--output=x"),
      "config argument: got 'samples'; valid: ",
    ),
    ((*PLAN, "--chips=v5e"), "are required: --counts"),
    ((*PLAN, "--counts=1", "--chips=v9"), "--chips: got 'v9'; valid: "),
    (
      (*PLAN, "--counts=1", "--chips=v5e", "--batch-per-chip=all"),
      "--batch-per-chip: got all; valid: 1 or more",
    ),
    (("report",), "are required: FOLDER"),
    (("report", "nowhere"), "got 'nowhere', which has neither points/"),
    (("report", "x", "--price=v5e"), "got 'v5e'; valid: CHIP=USD"),
    (("report", "x", "--price=v5e=-1"), "got 'v5e=-1'; valid: CHIP=USD"),
    (("report", "x", "--markdown=x.html"), "--markdown: got 'x.html'; valid"),
    (("report", "x", "--config.seed=1"), "got 'seed=1'; valid: see --help"),
  ):
    assert scaling.main(list(line)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("scaling: ")
    assert err.count("\n") == 1
    assert said in err
    assert asked == []


def test_a_price_of_something_else_is_refused(capsys, tmp_path):
  toy.write_plan(tmp_path, [toy.plan_row("v5e", 1, 10.0)])
  assert scaling.main(["report", str(tmp_path), "--price=v4=1"]) == 2
  assert "--price: got 'v4'; valid: v5e" in capsys.readouterr().err
  assert not (tmp_path / "report").exists()


def test_damaged_folders_are_refused(capsys, tmp_path):
  row = toy.plan_row("v5e", 1, 10.0)
  del row["fits"]
  toy.write_plan(tmp_path, [row])
  assert scaling.main(["report", str(tmp_path)]) == 2
  assert "a row without 'fits'" in capsys.readouterr().err
  (tmp_path / "plan.json").write_text(json.dumps({"rows": []}))
  assert scaling.main(["report", str(tmp_path)]) == 2
  assert "is damaged or no plan" in capsys.readouterr().err

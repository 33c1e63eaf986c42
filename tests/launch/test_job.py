import pytest

from mn_jax.errors import InputError
from mn_jax.launch import job as job_lib
from tests.launch import shells


def job(**fields):
  options = {"config": "configs/idc_v1.py", "workdir": "runs/idc_v1", **fields}
  return job_lib.Job(**options)


def test_name_follows_from_the_workdir_alone():
  for workdir, name in (
    ("runs/IDC_v1", "idc-v1"),
    ("/shared/runs/a.b c/", "a-b-c"),
    ("x", "x"),
  ):
    assert job(workdir=workdir).name == name
    assert job(workdir=workdir) == job(workdir=workdir)


def test_command_is_the_trainers():
  made = job(overrides=("--config.seed=3",), cpu_devices=2)
  assert made.command() == (
    "python",
    "-m",
    "mn_jax.main",
    "--config=configs/idc_v1.py",
    "--config.seed=3",
    "--workdir=runs/idc_v1",
    "--cpu-devices=2",
  )


def test_cache_reaches_the_processes():
  variables = dict(
    job(cache_dir="/data/cache", env=(("A", "b"),)).environment()
  )
  assert variables["MN_JAX_CACHE"] == "/data/cache"
  assert variables["A"] == "b"
  assert "MN_JAX_CACHE" not in dict(job().environment())


def test_what_no_engine_could_use_is_one_line():
  for fields, message in (
    ({"workdir": ""}, "--workdir: got nothing"),
    ({"config": ""}, "--config: got nothing"),
    ({"workdir": "runs/???"}, "--name: got ''"),
    ({"workdir": "runs/1st"}, "--name: got '1st'"),
    ({"name": "a" * 41}, "--name: got"),
    ({"name": "a b"}, "--name: got 'a b'"),
    ({"workdir": "a\nb"}, r"--workdir: got 'a\nb'; valid: one line"),
    ({"env": (("A", "x\ny"),)}, "--env: got"),
    ({"overrides": ("--config.x=\x1b[1m",)}, "--overrides: got"),
    ({"workdir": "a\\b"}, "backslashes"),
    ({"workdir": "gs://bucket/run"}, "--workdir: got 'gs://bucket/run'; valid"),
    ({"nodes": 0}, "--nodes: got 0; valid: 1 to"),
    ({"grace": 1}, "--grace: got 1; valid: 10 to"),
    ({"restarts": -1}, "--restarts: got -1"),
    ({"hours": 0.1}, "--hours: got 0.1"),
    ({"queue": "a b"}, "--queue: got 'a b'; valid: letters"),
    ({"image": "$(x)"}, "--image: got"),
    ({"zone": "-x"}, "--zone: got"),
    ({"env": (("A B", "x"),)}, "--env: got 'A B'; valid: NAME=VALUE"),
    ({"mount": "data"}, "--mount: got 'data'; valid: an absolute path"),
    ({"mount": "/data/$x"}, "--mount: got"),
    ({"mount": "/data"}, "--workdir: got 'runs/idc_v1'; valid: a folder below"),
    ({"mount": "/data", "workdir": "/data"}, "--workdir: got '/data'"),
    ({"mount": "/data", "workdir": "/data/../x"}, "--workdir: got"),
    (
      {"mount": "/data", "workdir": "/data/x", "cache_dir": "/tmp"},
      "--cache-dir: got '/tmp'; valid: a folder below /data",
    ),
  ):
    with pytest.raises(InputError) as error:
      job(**fields)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_secrets_are_refused_and_not_shown():
  names = "HF_TOKEN kaggle_api_token DB_PASSWORD AWS_SECRET_X MY_API_KEY"
  for variable in names.split():
    with pytest.raises(InputError) as error:
      job(env=((variable, "hunter2"),))
    assert variable in str(error.value)
    assert "hunter2" not in str(error.value)


def test_hostile_text_is_no_word_of_an_engine():
  for text in shells.HOSTILE:
    for name in ("name", "queue", "image", "accelerator", "storage"):
      with pytest.raises(InputError):
        job(**{name: f"{text} "})


def test_what_an_engine_requires():
  with pytest.raises(InputError, match="--zone: got nothing"):
    job_lib.require(job(queue="q"), "queue", "zone")

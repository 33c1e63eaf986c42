import types

import pytest

from mn_jax.data import datasets, sample, sample_tiles
from mn_jax.tools import prepare

HANDLE = "paultimothymooney/breast-histopathology-images/versions/1"


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
  """A small data set in the layout of IDC."""
  folder = tmp_path_factory.mktemp("copy") / "idc"
  sample.write_sample(folder, num_patients=4, patches_per_patient=5)
  return folder


@pytest.fixture
def kaggle(monkeypatch):
  """Stands in for kagglehub and requests: `download` is set by the test."""
  import sys

  class KaggleApiHTTPError(Exception):
    response = None

  hub = types.ModuleType("kagglehub")
  errors = types.ModuleType("kagglehub.exceptions")
  errors.KaggleApiHTTPError = KaggleApiHTTPError
  hub.exceptions = errors
  requests = types.ModuleType("requests")
  requests.RequestException = type("RequestException", (OSError,), {})
  for module in (hub, errors, requests):
    monkeypatch.setitem(sys.modules, module.__name__, module)
  return types.SimpleNamespace(
    hub=hub, error=KaggleApiHTTPError, broken=requests.RequestException
  )


def run(capsys, *arguments):
  code = prepare.main(list(map(str, arguments)))
  return code, *capsys.readouterr()


def test_a_copy_is_packed_counted_and_remembered(copy, tmp_path, capsys):
  code, out, err = run(capsys, "idc", "--source", copy, "--data_dir", tmp_path)
  assert (code, err) == (0, "")
  assert "20 images of 4 patients" in out
  assert "CC0" in out
  assert datasets.locate("idc", "", tmp_path) == copy.resolve()
  # Again, without naming it: what is prepared is not downloaded.
  code, again, _ = run(capsys, "idc", "--data_dir", tmp_path)
  assert code == 0
  assert "20 images of 4 patients" in again


def test_a_copy_without_groups_is_packed_at_its_own_size(tmp_path, capsys):
  copy = tmp_path / "copy"
  sample_tiles.write_tiles(copy, tiles_per_class=1)
  options = ("--source", copy, "--data_dir", tmp_path)
  code, out, err = run(capsys, "eurosat", *options)
  assert (code, err) == (0, "")
  assert "10 images; fingerprint" in out
  assert "None" not in out
  assert "SeaLake: 1" in out
  assert list((tmp_path / "packed").glob("eurosat-64px-*/meta.json"))
  run(capsys, "eurosat", *options, "--image_size=32")
  assert list((tmp_path / "packed").glob("eurosat-32px-*/meta.json"))


def test_download_is_pinned_and_kept_in_the_data_folder(
  copy, tmp_path, capsys, kaggle, monkeypatch
):
  asked = []

  def download(handle):
    import os

    asked.append((handle, os.environ["KAGGLEHUB_CACHE"]))
    return str(copy)

  kaggle.hub.dataset_download = download
  monkeypatch.setenv("KAGGLEHUB_CACHE", "elsewhere")
  code, out, _ = run(capsys, "idc", "--data_dir", tmp_path)
  assert code == 0
  assert asked == [(HANDLE, str(tmp_path / "kaggle"))]
  assert "20 images" in out


@pytest.mark.parametrize(
  ("failure", "message"),
  [
    ("status", "Kaggle answered 403"),
    ("broken", "broke off"),
  ],
)
def test_failed_download_says_what_to_do(
  tmp_path, capsys, kaggle, failure, message, monkeypatch
):
  monkeypatch.setenv("KAGGLEHUB_CACHE", "elsewhere")

  def download(handle):
    if failure == "broken":
      raise kaggle.broken("no route")
    error = kaggle.error("secret-token in the text")
    error.response = types.SimpleNamespace(status_code=403)
    raise error

  kaggle.hub.dataset_download = download
  code, _, err = run(capsys, "idc", "--data_dir", tmp_path)
  assert code == 2
  assert message in err
  assert err.count("\n") == 1
  assert "secret" not in err
  assert not (tmp_path / "idc.path").exists()


def test_too_little_space_is_said_before_the_download(
  tmp_path, capsys, kaggle, monkeypatch
):
  monkeypatch.setattr(
    prepare.shutil,
    "disk_usage",
    lambda _: types.SimpleNamespace(free=1 << 30),
  )
  code, _, err = run(capsys, "idc", "--data_dir", tmp_path)
  assert code == 2
  assert "1.0 GiB free" in err


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["nothing"], "got 'nothing'; valid: idc, idc_sample"),
    (["idc", "--source", "/no/such"], "got '/no/such'"),
    (["idc", "--source", "/", "--image_size=2000"], "got 2000; valid: 8 to"),
    (["eurosat"], "'eurosat' is not downloaded by this program; valid: --sou"),
    (["eurosat"], "a copy from https://zenodo.org/records/7711810"),
  ],
)
def test_wrong_input_is_one_line(tmp_path, capsys, arguments, message):
  code, _, err = run(capsys, *arguments, "--data_dir", tmp_path)
  assert code == 2
  assert message in err
  assert err.count("\n") == 1


def test_a_data_set_that_moved_away_is_not_found(copy, tmp_path):
  datasets.remember("idc", tmp_path / "gone", tmp_path)
  assert datasets.recall("idc", tmp_path) is None

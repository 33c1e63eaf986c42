import hashlib

import pytest

from mn_jax.errors import InputError
from mn_jax.tools import fetch
from mn_jax.weights import manifest
from tests import file_server

_SHA256 = hashlib.sha256(b"weights").hexdigest()


@pytest.fixture
def downloads(monkeypatch):
  """Stands in for `download`: notes what it is asked and writes the file."""
  asked = []

  def download(url, path, *, known_hash, progress):
    asked.append((url, path, known_hash))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    progress(17, 17)

  monkeypatch.setattr(fetch, "download", download)
  return asked


def run(capsys, *arguments):
  code = fetch.main(list(map(str, arguments)))
  return code, *capsys.readouterr()


def test_list_names_all_and_says_what_is_here(tmp_path, capsys, downloads):
  def list_files() -> tuple[dict[str, list[str]], str]:
    code, out, err = run(capsys, "--cache-dir", tmp_path)
    assert (code, err) == (0, "")
    lines = (line.strip("│").split("│") for line in out.splitlines())
    cells = ([cell.strip() for cell in line] for line in lines)
    return {row[0]: row[1:] for row in cells if len(row) == 5}, out

  rows, out = list_files()
  # No name is cut off in a narrow terminal either.
  assert set(manifest.load()) <= set(rows)
  assert rows["resnet50"] == ["103/94", "MIT", "md5", "-"]
  assert rows["mobilenet_v1_0.25_128"] == ["2/1", "Apache-2.0", "none", "-"]
  assert rows["mobilenet_v3_small_1.0"][1] == "not stated"
  assert "--sha256" in out
  for name, *flags in (
    ("resnet50",),
    ("vgg16", "--no-top"),
    ("xception",),
    ("xception", "--no-top"),
  ):
    run(capsys, name, *flags, "--cache-dir", tmp_path)
  rows, _ = list_files()
  here = [rows[name][3] for name in ("resnet50", "vgg16", "xception")]
  assert here == ["top", "no top", "both"]
  assert rows["resnet152"][3] == "-"


def test_named_file_is_fetched_and_its_use_is_told(
  tmp_path, capsys, downloads, monkeypatch
):
  monkeypatch.setenv("MN_JAX_CACHE", str(tmp_path))
  name = "mobilenet_v3_large_0.75"
  code, out, err = run(capsys, name)
  assert (code, err) == (0, "")
  file = manifest.get(name).top
  path = tmp_path / "weights" / file.name
  assert downloads == [(file.url, path, f"md5:{file.md5}")]
  assert str(path) in out.splitlines()
  assert "fetched: 17 MB" in out
  assert f"md5 {file.md5}, as its publisher states it" in out
  assert "licence not stated" in out
  assert "224x224" in out
  assert (
    "Use: model.name=mobilenet_v3_large model.width=0.75 "
    f"model.weights={path} model.transfer=fine_tune"
  ) in out


def test_variants_of_a_file_are_others(tmp_path, capsys, downloads):
  run(capsys, "vgg16", "--no-top", "--cache-dir", tmp_path)
  [(url, path, known_hash)] = downloads
  assert url.endswith("_notop.h5")
  assert path.name == manifest.get("vgg16").no_top.name
  assert known_hash == f"md5:{manifest.get('vgg16').no_top.md5}"
  name = "mobilenet_v3_small_minimalistic"
  _, out, _ = run(capsys, name, "--cache-dir", tmp_path)
  assert "model.minimalistic=True" in out


def test_users_checksum_and_place_count(tmp_path, capsys, downloads):
  place = tmp_path / "my folder" / "net.h5"
  code, out, _ = run(
    capsys,
    "mobilenet_v1_1.0_224",
    f"--sha256={_SHA256.upper()}",
    f"--output={place}",
  )
  assert code == 0
  assert downloads[0][1:] == (place, f"sha256:{_SHA256}")
  assert f"sha256 {_SHA256}, as given" in out
  assert f"model.weights='{place}'" in out  # as a shell wants it


def test_what_cannot_be_fetched_is_said_in_one_line(
  tmp_path, capsys, downloads
):
  for arguments, message in (
    (["nothing"], "name: got 'nothing'; valid: what "),
    (["mobilenet_v2_1.0_224"], "states no checksum; valid: --sha256=HEX"),
    (["resnet50", "--sha256=12"], "sha256: got '12'; valid: 64"),
    (["resnet50", "--url=https://example.org/a.h5"], "a name or --url"),
    (["--no-top"], "--no-top: got no name"),
    (["--url=https://example.org/a.h5"], "valid: with --url, --sha256=HEX"),
    (["--url=http://example.org/a.h5?secret", "SHA"], "an https:// address"),
    (["--url=https://example.org/a.pth", "SHA"], "got 'a.pth'; valid: a file"),
    (["--url=https://example.org/", "SHA"], "ends in ''; valid: "),
    (["--url=https://example.org/.h5", "SHA"], "ends in '.h5'; valid: "),
    (["--url=https://example.org/a%2fb.h5", "SHA"], "valid: "),
  ):
    arguments = [a.replace("SHA", f"--sha256={_SHA256}") for a in arguments]
    code, out, err = run(capsys, *arguments, "--cache-dir", tmp_path)
    assert (code, out) == (2, "")
    assert err.startswith("fetch: ")
    assert err.count("\n") == 1
    assert message in err
    assert "secret" not in err
    assert downloads == []


@pytest.mark.parametrize(
  ("error", "code"), [(InputError("broke off"), 2), (KeyboardInterrupt(), 130)]
)
def test_stopped_download_ends_in_one_line(
  tmp_path, capsys, monkeypatch, error, code
):
  def download(*_, **__):
    raise error

  monkeypatch.setattr(fetch, "download", download)
  got, _, err = run(capsys, "resnet50", "--cache-dir", tmp_path)
  assert got == code
  assert err.count("\n") == 1
  assert ("broke off" if code == 2 else "nothing of the file is left") in err


def test_any_other_file_arrives_from_a_server(tmp_path, capsys, monkeypatch):
  for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
    monkeypatch.delenv(name, raising=False)
  with file_server.serving(b"weights") as site:
    url = site.url.replace("net.h5", "a.safetensors?token=secret")
    arguments = (f"--url={url}", "--cache-dir", tmp_path)
    code, out, err = run(capsys, *arguments, f"--sha256={_SHA256}")
    other, _, refusal = run(capsys, *arguments, f"--sha256={'0' * 64}")
  path = tmp_path / "weights" / "a.safetensors"
  assert (code, err) == (0, "")
  assert path.read_bytes() == b"weights"
  assert (f"Use: model.weights={path} model.transfer=fine_tune") in out
  assert other == 2
  assert "expected 0000" in refusal
  assert "secret" not in out + refusal

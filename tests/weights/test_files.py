"""Files of weights that cannot be read, and what is read of those that can."""

import contextlib
import io
import json
import pathlib
import re
import struct
import zipfile

import h5py
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from mn_jax.errors import InputError
from mn_jax.weights import files, keras_files
from tests.weights import toy_h5
from tests.weights.broken import FOREIGN, refuses

_RNG = np.random.default_rng(0)
_KERNEL = _RNG.normal(size=(3, 3, 2, 4)).astype(np.float32)
_BIAS = _RNG.normal(size=4).astype(np.float32)
_LAYERS = [("conv", {"kernel": _KERNEL, "bias": _BIAS})]


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("read", [keras_files.read, files.read_safetensors])
def test_what_is_no_file_of_weights_is_refused(
  read, kind, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  path = tmp_path / "weights.h5"
  path.write_bytes(FOREIGN[kind])
  refuses(read, path, "cannot be read")
  assert [p.name for p in tmp_path.iterdir()] == ["weights.h5"]


def _zip(**members):
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, "w") as archive:
    for name, data in members.items():
      archive.writestr(name.replace("__", "/").replace("_d_", "."), data)
  return buffer.getvalue()


def test_a_file_of_another_kind_is_named_and_how_to_convert_it(tmp_path):
  safetensors.numpy.save_file({"a": _KERNEL}, tmp_path / "whole")
  whole = (tmp_path / "whole").read_bytes()
  pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:12\n"
  torch = "is a file of PyTorch (.pth, .pt, .bin, .ckpt), which could run code"
  save_file = "python -c 'import sys, torch, safetensors.torch; safetensors."
  converted = f"'{tmp_path / 'a model $HOME_converted'}."
  for data, what, valid in (
    (b"", "is empty", "downloaded once more"),
    (whole[:5], "is cut off", "downloaded once more"),
    (whole[:20], "is not complete: 20 bytes, and ", "downloaded once more"),
    (pointer, "is a pointer of Git LFS", "git lfs pull"),
    (b"\n<!DOCTYPE html><p>Sign in", "is a page of HTML", "downloaded once"),
    (b'{"metadata": {}}', "is text, JSON", "beside it"),
    (_zip(archive__data_d_pkl=b"x"), torch, save_file),
    (b"\x80\x02\x8a\nl\xfc\x9cF\xf9", "is a pickle, which could", save_file),
    (_zip(a_d_npy=b""), "is an archive of NumPy", "saved from the network"),
    (_zip(a_d_h5=b""), "is a zip archive", "the file inside, unzip "),
    (_zip(a_d_h5=b"")[:-9], "is a zip archive that is not c", "once more"),
    (b"\x08\x08\x12\x07pytorch", "is a model of ONNX", "saved from"),
    (b"\x1c\0\0\0TFL3" + bytes(50), "is a model of TensorFlow Lite", "saved"),
    (bytes(257) + b"ustar\0", "is a tar archive", "tar -xf"),
    (b"\x1f\x8b\x08" + bytes(9), "is compressed by gzip", "gunzip"),
    (FOREIGN["png"], "is an image", "downloaded once more"),
    (FOREIGN["random"], "is neither HDF5 nor safetensors", "once more"),
  ):
    path = tmp_path / "a model $HOME.bin"
    path.write_bytes(data)
    refuses(lambda x: files.check_path(str(x)), path, re.escape(what))
    with pytest.raises(InputError) as caught:
      files.check_path(str(path))
    text = str(caught.value)
    assert valid in text
    assert ("python -c" in text) == (converted in text)


def test_truncated_files_are_refused(tmp_path):
  whole, cut = tmp_path / "whole", tmp_path / "cut"
  toy_h5.write_layers(whole, _LAYERS)
  keras = whole.read_bytes()
  safetensors.numpy.save_file({"a.weight": _KERNEL, "a.bias": _BIAS}, whole)
  torch = whole.read_bytes()
  for read, data in (
    (keras_files.read, keras),
    (files.read_safetensors, torch),
  ):
    for share in (0.001, 0.1, 0.3, 0.5, 0.8, 0.99):
      cut.write_bytes(data[: int(len(data) * share)])
      refuses(read, cut, "cannot be read")


def test_paths_that_cannot_be_opened_are_refused(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for path in ("", "nothing.h5", ".", "~no one/x.h5"):
    refuses(files.check_path, path, "is no file|is a folder|cannot be open")
  with pytest.raises(InputError, match=r"cannot be opened .*too long"):
    files.check_path("x" * 5000)

  def refuse(*_):
    raise PermissionError(13, "Permission denied")

  path = tmp_path / "weights.h5"
  path.write_bytes(b"")
  monkeypatch.setattr(pathlib.Path, "open", refuse)
  with pytest.raises(InputError, match=r"opened .*Permission denied"):
    files.check_path(str(path))


def test_reasons_of_several_lines_are_joined(tmp_path, monkeypatch):
  def fail(*_):
    raise OSError("cannot open\n  (the file\n  is bad)")

  monkeypatch.setattr(h5py, "File", fail)
  reason = r"\(cannot open \(the file is bad\)\)"
  path = tmp_path / "a.h5"
  path.touch()
  refuses(keras_files.read, path, reason)


def test_home_is_expanded(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  toy_h5.write_layers(tmp_path / "weights.h5", _LAYERS)
  assert files.check_path("~/weights.h5") == tmp_path / "weights.h5"


def test_values_that_overflow_become_infinite(tmp_path):
  path = tmp_path / "a.h5"
  large = np.array([1e300, 1.0])
  toy_h5.write_layers(path, [("conv", {"bias": large})])
  assert files.is_keras(path)
  (layer,) = keras_files.read(path)
  assert layer.weights["bias"].tolist() == [np.inf, 1]
  safetensors.numpy.save_file({"bias": large}, path)
  assert not files.is_keras(path)
  assert files.read_safetensors(path)["bias"].tolist() == [np.inf, 1]


def test_safetensors_are_read_by_name_and_floats_become_float32(tmp_path):
  path = tmp_path / "a.safetensors"
  floats = (np.float16, np.float32, np.float64, ml_dtypes.bfloat16)
  tensors = {np.dtype(t).name: _KERNEL.astype(t) for t in floats}
  counter = {"num_batches_tracked": np.array(7, np.int64)}
  safetensors.numpy.save_file(tensors | counter, path)
  read = files.read_safetensors(path)
  assert read.pop("num_batches_tracked").dtype == np.int64
  assert read.keys() == tensors.keys()
  for name, value in tensors.items():
    assert read[name].dtype == np.float32
    np.testing.assert_array_equal(read[name], value.astype(np.float32))


def _raw_safetensors(path, header, body):
  text = json.dumps(header).encode()
  path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def test_promises_of_safetensors_are_refused(tmp_path):
  path = tmp_path / "a.safetensors"
  for dtype, shape, offsets in (
    ("F32", [1 << 62], [0, 4]),
    ("F32", [1 << 40, 1 << 40], [0, 4]),
    ("F32", [1 << 30], [0, 4 << 30]),
    ("F32", [2], [0, 4]),
    ("F32", [1], [4, 8]),
    ("F32", [-1], [0, 4]),
    ("F8_E4M3", [4], [0, 4]),
  ):
    tensor = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
    _raw_safetensors(path, {"x": tensor}, bytes(4))
    refuses(files.read_safetensors, path, "cannot be read")


def test_a_file_that_is_too_large_is_refused_unread(tmp_path):
  path = tmp_path / "a.safetensors"
  tensor = {"dtype": "F32", "shape": [2 << 30], "data_offsets": [0, 8 << 30]}
  _raw_safetensors(path, {"x": tensor}, b"")
  with path.open("r+b") as file:
    file.truncate(path.stat().st_size + (8 << 30))  # takes no room
  refuses(files.read_safetensors, path, "bytes, more than 4,294,967,296")


def test_damage_of_safetensors_is_never_another_error(tmp_path):
  path = tmp_path / "a.safetensors"
  safetensors.numpy.save_file({f"x{i}": _BIAS for i in range(4)}, path)
  data = path.read_bytes()
  rng = np.random.default_rng(0)
  refused = 0
  for _ in range(300):
    damaged = bytearray(data)
    for _ in range(rng.integers(1, 4)):
      damaged[rng.integers(len(data))] = rng.integers(256)
    path.write_bytes(damaged)
    with contextlib.suppress(InputError):
      refused += 1
      files.read_safetensors(path)
      refused -= 1
  assert 0 < refused < 300


def test_sha256_is_of_the_bytes(tmp_path):
  path = tmp_path / "a"
  path.write_bytes(b"abc")
  # FIPS 180-2, appendix B.1.
  assert files.sha256(path).startswith("ba7816bf8f01cfea414140de5dae2223")

"""Files in Keras's layout: what is read of them, and what is refused."""

import h5py
import numpy as np
import pytest

from mn_jax.weights import keras_files
from tests.weights import toy_h5
from tests.weights.broken import refuses

_RNG = np.random.default_rng(0)
_KERNEL = _RNG.normal(size=(3, 3, 2, 4)).astype(np.float32)
_BIAS = _RNG.normal(size=4).astype(np.float32)
_LAYERS = [
  ("conv", {"kernel": _KERNEL, "bias": _BIAS}),
  ("relu", {}),
  ("norm", {"gamma": _BIAS + 1, "beta": _BIAS - 1}),
]


def _check(layers):
  assert [layer.name for layer in layers] == ["conv", "norm"]
  conv, norm = (layer.weights for layer in layers)
  assert list(conv) == ["kernel", "bias"]
  np.testing.assert_array_equal(conv["kernel"], _KERNEL)
  np.testing.assert_array_equal(norm["beta"], _BIAS - 1)


@pytest.mark.parametrize("root", ["", "model_weights"])
def test_layers_with_weights_are_read_in_order(root, tmp_path):
  path = tmp_path / "a.h5"
  # Alphabetically, as HDF5 lists them, the last would come first.
  layers = [*_LAYERS, ("a", {"kernel": _BIAS})]
  toy_h5.write_layers(path, layers, root=root)
  read = keras_files.read(path)
  assert [layer.name for layer in read] == ["conv", "norm", "a"]
  _check(read[:2])


def test_numbered_attributes_are_joined(tmp_path):
  path = tmp_path / "a.h5"
  toy_h5.write_layers(path, _LAYERS)
  with h5py.File(path, "a") as file:
    names = file.attrs["layer_names"]
    del file.attrs["layer_names"]
    file.attrs["layer_names0"], file.attrs["layer_names1"] = (
      names[:2],
      names[2:],
    )
    weights = file["conv"].attrs["weight_names"]
    del file["conv"].attrs["weight_names"]
    file["conv"].attrs["weight_names0"] = weights
  _check(keras_files.read(path))


def test_a_network_that_is_one_layer_is_read_layer_by_layer(tmp_path):
  """Trainable weights come before all others, as Keras writes them."""
  path = tmp_path / "a.h5"
  inner = {
    "conv/kernel": _KERNEL,
    "norm/gamma": _BIAS,
    "last/kernel": _KERNEL,
    "norm/moving_mean": _BIAS - 1,
  }
  dense = ("model/dense", {"kernel": _BIAS})
  toy_h5.write_layers(path, [("net", inner), dense])
  with h5py.File(path, "a") as file:
    for key in inner:
      file["net"].move(f"net/{key}:0", f"{key}:0")
    file["net"].attrs["weight_names"] = [f"{key}:0" for key in inner]
  read = keras_files.read(path)
  names = ["net/conv", "net/norm", "net/last", "model/dense"]
  assert [layer.name for layer in read] == names
  assert list(read[1].weights) == ["gamma", "moving_mean"]
  np.testing.assert_array_equal(read[2].weights["kernel"], _KERNEL)


def test_strings_of_fixed_length_are_read(tmp_path):
  path = tmp_path / "a.h5"
  toy_h5.write_layers(path, _LAYERS)
  with h5py.File(path, "a") as file:
    for group in (file, *file.values()):
      for name in group.attrs:
        if group.attrs[name].size:
          group.attrs[name] = np.array(group.attrs[name], "S30")
  _check(keras_files.read(path))


def test_all_floats_become_float32_and_other_numbers_are_refused(tmp_path):
  path = tmp_path / "a.h5"
  for dtype in (np.float16, np.float64, np.longdouble):
    toy_h5.write_layers(path, [("conv", {"kernel": _KERNEL.astype(dtype)})])
    (layer,) = keras_files.read(path)
    assert layer.weights["kernel"].dtype == np.float32
    np.testing.assert_allclose(layer.weights["kernel"], _KERNEL, rtol=1e-3)
  for dtype in (np.int8, np.int64, np.bool_, np.complex64):
    toy_h5.write_layers(path, [("conv", {"kernel": np.ones((2, 2), dtype)})])
    refuses(keras_files.read, path, "'/conv/conv/kernel:0' is no array of floa")


def _change(path, change):
  toy_h5.write_layers(path, _LAYERS)
  with h5py.File(path, "a") as file:
    change(file)


def _no_names(file):
  del file.attrs["layer_names"]
  file.create_group("other/conv2d/vars")["0"] = _KERNEL


def _names(value):
  return lambda file: file.attrs.__setitem__("layer_names", value)


def _weights(*value):
  return lambda file: file["conv"].attrs.__setitem__("weight_names", value)


def _repeated_weight(file):
  _weights(b"conv/kernel:0", b"conv/kernel:0")(file)


def _weight_as_layer(file):
  file["data"] = _KERNEL
  file.attrs["layer_names"] = [b"data"]


def _absent_weight(file):
  del file["conv/conv/kernel:0"]


def _without_values(file):
  _replace(file, "conv/conv/kernel:0", h5py.Empty("f"))


def _weights_as_root(file):
  file["model_weights"] = _KERNEL


_WRONG = [
  (_no_names, "HDF5 without layer_names or layers, not of Keras"),
  (_names(np.arange(3)), "layer_names of '/' has no strings"),
  (_names(np.array([b"\xff\xfe"])), "can't decode"),
  (_names("conv"), "HDF5 without layer_names or layers"),
  (_names([b"conv", b"con\nv2"]), r"there is no 'con\\nv2' in '/'"),
  (_names([b"conv", b"conv"]), "two layers have the same name"),
  (_repeated_weight, "layer 'conv' has two weights named 'kernel'"),
  (_weights(b"conv"), "'/conv/conv' is no dataset"),
  (_weight_as_layer, "'/data' is no group"),
  (_weights(b"conv/kernel:0/kernel"), "'/conv/conv/kernel:0' is no group"),
  (_absent_weight, "there is no 'kernel:0' in '/conv/conv'"),
  (_without_values, "'/conv/conv/kernel:0' is no array of floats"),
  (_weights_as_root, "'/model_weights' is no group"),
]


def test_hdf5_of_another_kind_is_refused(tmp_path):
  path = tmp_path / "a.h5"
  for change, message in _WRONG:
    _change(path, change)
    refuses(keras_files.read, path, message)


def _replace(file, name, link):
  del file[name]
  file[name] = link


_LINKS = [
  lambda file: _replace(
    file, "conv/conv/kernel:0", h5py.SoftLink("/conv/conv/bias:0")
  ),
  lambda file: _replace(
    file, "conv/conv/kernel:0", h5py.ExternalLink("other.h5", "/x")
  ),
  lambda file: _replace(file, "conv", h5py.ExternalLink("other.h5", "/")),
  lambda file: file.__setitem__(
    "model_weights", h5py.ExternalLink("none.h5", "/")
  ),
]


def test_links_are_refused(tmp_path):
  with h5py.File(tmp_path / "other.h5", "w") as other:
    other["x"] = _KERNEL
    other.attrs["layer_names"] = [b"x"]
  path = tmp_path / "a.h5"
  for change in _LINKS:
    _change(path, change)
    refuses(keras_files.read, path, "a link is refused: ")


def test_values_in_other_files_are_refused(tmp_path):
  path = tmp_path / "a.h5"
  (tmp_path / "secret").write_bytes(_KERNEL.tobytes())

  def external(file):
    del file["conv/conv/kernel:0"]
    file["conv/conv"].create_dataset(
      "kernel:0",
      shape=_KERNEL.shape,
      dtype="f4",
      external=[(str(tmp_path / "secret"), 0, _KERNEL.nbytes)],
    )

  _change(path, external)
  refuses(keras_files.read, path, "kernel:0' refers to other data")

  def virtual(file):
    del file["conv/conv/kernel:0"]
    layout = h5py.VirtualLayout(shape=(4,), dtype="f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", shape=(4,))
    file["conv/conv"].create_virtual_dataset("kernel:0", layout)

  with h5py.File(tmp_path / "other.h5", "w") as other:
    other["x"] = _BIAS
  _change(path, virtual)
  refuses(keras_files.read, path, "kernel:0' refers to other data")


@pytest.mark.parametrize("parts", [1, 3])
def test_promises_of_many_values_are_refused_unread(parts, tmp_path):
  """A file of a few kilobytes, one array or some that add up."""
  path = tmp_path / "a.h5"

  def promise(file):
    names = [f"big{i}" for i in range(parts)]
    for name in names:
      file["conv"].create_dataset(
        name, shape=(6 << 20, 256 // parts), dtype="f2", chunks=(1024, 8)
      )
    file["conv"].attrs["weight_names"] = [name.encode() for name in names]

  _change(path, promise)
  assert path.stat().st_size < 1 << 20
  refuses(keras_files.read, path, r"6,4\d\d,\d\d\d,\d\d\d bytes, more than")

"""Says what a file is that is no file of weights, by its first bytes.

Nothing is unpacked or executed: of archives the names of members are read.
"""

import pathlib
import shlex
import zipfile

_SIZE = 1024  # bytes that are looked at
_HEADER = 8  # bytes of the length of safetensors' header
_TORCH = (
  "import sys, torch, safetensors.torch; "
  "safetensors.torch.save_file({k: v.contiguous() for k, v in "
  'torch.load(sys.argv[1], map_location="cpu", weights_only=True).items()}, '
  "sys.argv[2])"
)
_EXPORT = "the weights, saved from the network they were converted from"
_AGAIN = "the file itself, downloaded once more"
# (first bytes, what such a file is, what is valid instead); '{}' stands for
# the quoted path.
_SIGNATURES = (
  (b"version https://git-lfs", "is a pointer of Git LFS", "git lfs pull"),
  (b"\x93NUMPY", "is an array of NumPy", _EXPORT),
  (b"\x1f\x8b", "is compressed by gzip", "the file inside, gunzip {}"),
  (b"\x28\xb5\x2f\xfd", "is compressed by zstd", "the file inside, unzstd {}"),
  (b"\x89PNG", "is an image", _AGAIN),
  (b"\xff\xd8\xff", "is an image", _AGAIN),
  (b"%PDF", "is a PDF", _AGAIN),
)
# The protocols of pickle, and the first of the fields that follow ONNX's
# version.
_PICKLES = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))
_ONNX = (0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42)


def describe(path: pathlib.Path) -> tuple[str, str] | None:
  """Returns what a file is and what is valid instead.

  Args:
    path: of the file.

  Returns:
    ('is ...', advice), or None for what may be of Keras or safetensors.
  """
  with path.open("rb") as file:
    start = file.read(_SIZE)
  size = path.stat().st_size
  quoted = shlex.quote(str(path))
  if len(start) <= _HEADER:
    return f"is {'cut off' if start else 'empty'}", _AGAIN
  if start.startswith(b"\x89HDF\r\n\x1a\n"):
    return None
  for signature, what, valid in _SIGNATURES:
    if start.startswith(signature):
      return what, valid.format(quoted)
  if start.startswith(b"PK\x03\x04"):
    return _describe_zip(path)
  if start.startswith(_PICKLES):
    return _pickle(path, "a pickle")
  if start[4:8] == b"TFL3":
    return "is a model of TensorFlow Lite", _EXPORT
  # The first field of ONNX, 8, is its version.
  if start[0] == 8 and 3 <= start[1] < 32 and start[2] in _ONNX:
    return "is a model of ONNX", _EXPORT
  if start[257:262] == b"ustar":
    return "is a tar archive", f"the file inside, tar -xf {quoted}"
  return _describe_text(start) or _describe_header(start, size)


def _describe_zip(path: pathlib.Path) -> tuple[str, str] | None:
  """Tells files of PyTorch and NumPy from other archives; None for Keras."""
  try:
    with zipfile.ZipFile(path) as archive:
      names = archive.namelist()
  except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
    return "is a zip archive that is not complete", _AGAIN
  if "model.weights.h5" in names:
    return None
  if any(name.rpartition("/")[2] == "data.pkl" for name in names):
    return _pickle(path, "a file of PyTorch (.pth, .pt, .bin, .ckpt)")
  if names and all(name.endswith(".npy") for name in names):
    return "is an archive of NumPy (.npz)", _EXPORT
  return "is a zip archive", f"the file inside, unzip {shlex.quote(str(path))}"


def _describe_text(start: bytes) -> tuple[str, str] | None:
  """Tells HTML and JSON from other files; None for these."""
  text = start.strip().lower()
  if text.startswith((b"<!doctype html", b"<html")):
    return "is a page of HTML, as servers send instead of a file", _AGAIN
  if text.startswith((b"<", b"{", b"[")):
    kind = "XML" if text.startswith(b"<") else "JSON"
    return f"is text, {kind}", "the .safetensors or .h5 file beside it"
  return None


def _describe_header(start: bytes, size: int) -> tuple[str, str] | None:
  """Checks the start of safetensors: the length of a header, then its JSON."""
  if start[_HEADER : _HEADER + 1] != b"{":
    return "is neither HDF5 nor safetensors", _AGAIN
  length = int.from_bytes(start[:_HEADER], "little")
  if _HEADER + length > size:
    return (
      f"is not complete: {size:,} bytes, and {length:,} for the header alone",
      _AGAIN,
    )
  return None


def _pickle(path: pathlib.Path, what: str) -> tuple[str, str]:
  """Returns a description with a command that converts the file beside it."""
  converted = path.with_name(f"{path.stem}_converted.safetensors")
  return (
    f"is {what}, which could run code when it is read",
    shlex.join(("python", "-c", _TORCH, str(path), str(converted))),
  )

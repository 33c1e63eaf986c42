"""Image files, plain, odd and hostile, made in memory with their results."""

import dataclasses
import io
import itertools
import struct
import zlib

import numpy as np
from PIL import Image

PNG_START = b"\x89PNG\r\n\x1a\n"
RGB = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)
GREY = RGB[..., 0]


@dataclasses.dataclass(frozen=True)
class Case:
  """One file.

  Attributes:
    name: what is special about it.
    data: the file.
    refusal: part of the reason why it is refused; None if it is decoded.
    pixels: u8[h, w, 3], the result; None if it is refused.
    error: largest difference from `pixels` that lossy compression may make.
  """

  name: str
  data: bytes
  refusal: str | None = None
  pixels: np.ndarray | None = None
  error: int = 0


def save(image: Image.Image | np.ndarray, kind: str, **options) -> bytes:
  if isinstance(image, np.ndarray):
    image = Image.fromarray(image)
  buffer = io.BytesIO()
  image.save(buffer, kind, **options)
  return buffer.getvalue()


def smooth(height: int = 40, width: int = 32) -> np.ndarray:
  """u8[height, width, 3] that JPEG hardly changes."""
  y, x = np.mgrid[:height, :width]
  return np.stack([4 * x, 4 * y, 100 + x], -1).clip(0, 255).astype(np.uint8)


def chunk(kind: bytes, body: bytes = b"") -> bytes:
  checksum = struct.pack(">I", zlib.crc32(kind + body))
  return struct.pack(">I", len(body)) + kind + body + checksum


def png_header(
  width: int, height: int, depth: int = 8, color: int = 2, interlace: int = 0
) -> bytes:
  fields = (width, height, depth, color, 0, 0, interlace)
  return PNG_START + chunk(b"IHDR", struct.pack(">IIBBBBB", *fields))


def png(rows: bytes, *, before: bytes = b"", header: bytes | None = None):
  """A PNG of the size of RGB, of any rows and chunks before them."""
  header = header or png_header(5, 7)
  return header + before + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND")


def promise(width: int, height: int) -> bytes:
  """A PNG that promises such a size, and has next to no data."""
  return png(bytes(100), header=png_header(width, height))


def grey3(grey: np.ndarray) -> np.ndarray:
  return np.repeat(grey[..., None], 3, -1)


def _rows(pixels: np.ndarray) -> bytes:
  """Rows of a PNG, without a filter."""
  return b"".join(b"\0" + row.tobytes() for row in pixels)


def exif(orientation: int) -> Image.Exif:
  exif = Image.Exif()
  exif[0x0112] = orientation
  return exif


def cases() -> list[Case]:
  return [*_decoded(), *_odd_jpegs(), *_refused(), *_cut_jpegs()]


def _decoded() -> list[Case]:
  def exact(name, data, pixels=RGB):
    return Case(name, data, pixels=pixels)

  plain = png(_rows(RGB))
  idat = zlib.compress(_rows(RGB))
  header = png_header(5, 7)
  pieces = b"".join(chunk(b"IDAT", idat[i : i + 9]) for i in range(0, 200, 9))
  rgba = np.concatenate([RGB, GREY[..., None]], -1)
  palette = Image.fromarray(RGB).quantize(16)
  bits = Image.fromarray(GREY > 127)
  black = grey3(np.where(GREY > 127, 255, 0).astype(np.uint8))
  deep = np.array([[0, 255, 256], [0x1234, 0x8000, 0xFFFF]], np.uint16)
  upper = grey3((deep >> 8).astype(np.uint8))
  other = [Image.fromarray(255 - RGB)]
  many = {"save_all": True, "append_images": other}
  date = bytes((7, 230, 1, 1, 0, 0, 0))
  made = [
    exact("png", plain),
    exact("png by Pillow", save(RGB, "PNG")),
    exact("png with a density", save(RGB, "PNG", dpi=(96, 96))),
    exact("png in pieces", header + pieces + chunk(b"IEND")),
    exact("png with more behind", plain + b"more"),
    exact("png of one pixel", save(RGB[:1, :1], "PNG"), RGB[:1, :1]),
    exact("png of one column", save(RGB[:, :1], "PNG"), RGB[:, :1]),
    exact("grey png", save(GREY, "PNG"), grey3(GREY)),
    exact("png with alpha", save(rgba, "PNG")),
    exact(
      "grey png with alpha", save(rgba[..., 2:], "PNG"), grey3(RGB[..., 2])
    ),
    exact(
      "png with a transparent colour", save(RGB, "PNG", transparency=(1, 2, 3))
    ),
    exact("palette", save(palette, "PNG"), np.asarray(palette.convert("RGB"))),
    exact("1-bit png", save(bits, "PNG"), black),
    exact("16-bit png", save(deep, "PNG"), upper),
    exact("png of two frames", save(RGB, "PNG", **many)),
    exact("turned png", save(RGB, "PNG", exif=exif(6)), np.rot90(RGB, -1)),
    exact("bmp", save(RGB, "BMP")),
    exact("grey bmp", save(GREY, "BMP"), grey3(GREY)),
    exact("tiff", save(RGB, "TIFF")),
    exact("grey tiff", save(GREY, "TIFF"), grey3(GREY)),
    exact("tiff of two frames", save(RGB, "TIFF", **many)),
    exact("16-bit tiff", save(deep, "TIFF"), upper),
    exact("turned tiff", save(RGB, "TIFF", exif=exif(3)), RGB[::-1, ::-1]),
    exact("1-bit tiff", save(bits, "TIFF", compression="group4"), black),
    exact("gif", save(palette, "GIF"), np.asarray(palette.convert("RGB"))),
    exact("gif of two frames", save(bits, "GIF", **many), black),
    exact("webp", save(RGB, "WEBP", lossless=True)),
    exact("webp of two frames", save(RGB, "WEBP", lossless=True, **many)),
  ]
  for kind, body in ((b"tIME", date), (b"tEXt", b"a\0b"), (b"quIx", b"")):
    data = png(_rows(RGB), before=chunk(kind, body))
    made.append(exact(f"png with a chunk {kind}", data))
  for name in ("tiff_lzw", "tiff_deflate", "packbits", "lzma", "zstd"):
    made.append(exact(name, save(RGB, "TIFF", compression=name)))
  return made


def _odd_jpegs() -> list[Case]:
  def near(name, data, pixels, error=8):
    return Case(name, data, pixels=pixels, error=error)

  image, best = smooth(), {"quality": 95}
  middle = np.full((40, 32, 3), 128, np.uint8)
  grey = image[..., 0]
  turned = save(image, "JPEG", exif=exif(8), **best)
  cmyk = save(Image.fromarray(image).convert("CMYK"), "JPEG", quality=98)
  two = save(
    image, "MPO", save_all=True, append_images=[Image.new("L", (9, 9))]
  )
  made = [
    near("grey jpeg", save(grey, "JPEG", **best), grey3(grey)),
    near("cmyk jpeg", cmyk, image, 12),
    near("turned jpeg", turned, np.rot90(image)),
    near("upright jpeg", save(image, "JPEG", exif=exif(1), **best), image),
    near("jpeg of two", two, image, 30),
    near("jpeg and more", save(image, "JPEG", **best) + b"more", image),
    near("grey jpeg and more", _grey_jpeg() + b"more" * 99, middle),
    near("lossy webp", save(image, "WEBP", **best), image, 24),
    near("avif", save(image, "AVIF", **best), image, 24),
  ]
  options = [
    {"icc_profile": b"x" * 200},
    {"comment": b"hello"},
    {"keep_rgb": True},
  ]
  for progressive, subsampling, restart in itertools.product(
    (False, True), (0, 1, 2), (0, 1)
  ):
    options.append(
      {
        "progressive": progressive,
        "subsampling": subsampling,
        "restart_marker_blocks": restart,
      }
    )
  made += [
    near(f"jpeg of {some}", save(image, "JPEG", **some, **best), image)
    for some in options
  ]
  return made


def _grey_jpeg() -> bytes:
  """A whole one of the grey that stands for data that is missing."""
  return save(Image.new("RGB", (32, 40), (128,) * 3), "JPEG")


def _cut_jpegs() -> list[Case]:
  """JPEGs that miss data before their end marker, which libjpeg fills up."""
  noise = np.random.default_rng(2).integers(0, 256, (64, 64, 3), np.uint8)
  made = []
  for progressive, share in itertools.product((False, True), (3, 10, 50, 60)):
    data = save(noise, "JPEG", progressive=progressive)
    data = data[: 700 + share * (len(data) - 700) // 100].rstrip(b"\xff")
    name = f"{share}/100 of a jpeg, {progressive=}, and its end"
    made.append(Case(name, data + b"\xff\xd9", "truncated"))
  jpeg = save(smooth(), "JPEG")
  at = jpeg.index(b"\xff\xc0") + 5
  large = jpeg[:at] + struct.pack(">HH", 2000, 2000) + jpeg[at + 4 :]
  made.append(Case("jpeg of 2000x2000 by its header", large, "truncated"))
  many = save(smooth(), "JPEG", progressive=True)
  at = many.rindex(b"\xff\xda")
  many = many[:at] + many[at:-2] * 500 + many[-2:]
  return [
    *made,
    Case("jpeg of 500 scans", many, "101 scans or more"),
    *(
      Case(f"tiff of many strips, {big=}", _many_strips(big), "strips or tiles")
      for big in (False, True)
    ),
  ]


def _many_strips(big: bool) -> bytes:
  """A TIFF of 300,000 strips of eight pixels, which are all the same bytes."""
  count = 300_000
  values = {256: 8, 257: 65_535, 258: 8, 259: 1, 262: 1, 277: 1, 278: 1}
  entry, start = ("<HHQQ", 16) if big else ("<HHLL", 8)
  head = b"II+\0\x08\0\0\0" if big else b"II*\0"
  number, size = ("<Q", 8) if big else ("<H", 4)
  after = start + struct.calcsize(number) + 9 * struct.calcsize(entry) + size
  tags = {tag: (1, value) for tag, value in values.items()}
  tags |= {273: (count, after), 279: (count, after + 4 * count)}
  return b"".join((
    head, start.to_bytes(size, "little"), struct.pack(number, len(tags)),
    *(struct.pack(entry, tag, 4, *tags[tag]) for tag in sorted(tags)),
    bytes(size), struct.pack("<L", 8) * 2 * count,
  ))  # fmt: skip


def _refused() -> list[Case]:
  rows = _rows(RGB)
  noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
  unit = "JPEG, TIFF"
  no_pixels = bytearray(save(RGB, "BMP"))
  no_pixels[18:22] = bytes(4)  # the width
  tall = bytearray(save(RGB, "BMP"))
  tall[18:26] = struct.pack("<ii", 60_000, 60_000)
  jpeg = save(smooth(), "JPEG")
  frame = jpeg.index(b"\xff\xc0")
  wide = jpeg[: frame + 5] + b"\xff\xff" * 2 + jpeg[frame + 9 :]
  flat = jpeg[: frame + 5] + bytes(4) + jpeg[frame + 9 :]
  deep = jpeg[: frame + 4] + b"\x10" + jpeg[frame + 5 :]
  tables = jpeg[:2] + jpeg[frame:]
  made = [
    Case("nothing", b"", unit),
    Case("a byte", b"\0", unit),
    Case("text", b"no image\n" * 50, unit),
    Case("start of a png", PNG_START, unit),
    Case("start of a bmp", b"BM", unit),
    Case("start of a jpeg", b"\xff\xd8\xff", unit),
    Case("svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", unit),
    Case("postscript", b"%!PS-Adobe-3.0 EPSF-3.0\n", unit),
    Case("bomb", promise(8193, 8192), "8193x8192 pixels; valid"),
    Case("larger bomb", promise(60_000, 60_000), "exceeds"),
    Case("long bomb", promise(1 << 30, 1), "exceeds"),
    Case("tall png", promise(1, 1 << 26), "1x67108864 pixels; valid"),
    Case("wide bomb", promise(10_000, 10_000), "10000x10000 pixels"),
    Case("wide jpeg", wide, "exceeds"),
    Case("bmp of a bomb", bytes(tall), "exceeds"),
    Case("bmp without pixels", bytes(no_pixels), unit),
    Case("png without width", promise(0, 5), unit),
    Case("jpeg without size", flat, unit),
    Case("12-bit jpeg", deep, unit),
    Case("jpeg without tables", tables, "broken data"),
    Case("png without data", png_header(5, 7) + chunk(b"IEND"), "cannot load"),
    Case("png of few rows", png(rows[:40]), "truncated"),
    Case(
      "png of no deflate",
      png_header(5, 7) + chunk(b"IDAT", b"x" * 50),
      "broken data",
    ),
    Case(
      "png with a filter that is none", png(b"\7" + rows[1:]), "unrecognized"
    ),
    Case("wrong header checksum", png_header(5, 7)[:-4] + bytes(60), unit),
    Case("png of 3 bits", png(rows, header=png_header(5, 7, depth=3)), unit),
    Case("png of colour 5", png(rows, header=png_header(5, 7, color=5)), unit),
    Case("32-bit tiff", save(GREY.astype(np.int32), "TIFF"), "no fixed range"),
    Case("float tiff", save(GREY.astype(np.float32), "TIFF"), "no fixed range"),
  ]
  for kind in ("PPM", "ICO", "JPEG2000", "TGA", "PCX", "SGI"):
    made.append(Case(kind, save(RGB, kind), "no readable PNG, JPEG, TIFF"))
  for kind, reason in (
    *((kind, "runcated") for kind in ("PNG", "JPEG", "TIFF", "BMP")),
    *((kind, "") for kind in ("GIF", "WEBP", "AVIF")),
  ):
    for tenths in (1, 5, 9):
      data = save(noise, kind)
      data = data[: tenths * len(data) // 10]
      made.append(Case(f"{tenths}/10 of a {kind}", data, reason))
  for kind, options, reason in (
    ("JPEG", {"progressive": True}, "truncated"),
    ("TIFF", {"compression": "tiff_lzw"}, "no readable"),
    ("TIFF", {"compression": "tiff_deflate"}, "no readable"),
    ("TIFF", {"compression": "jpeg"}, "no readable"),
  ):
    data = save(noise, kind, **options)
    name = f"half a {kind} of {options}"
    made.append(Case(name, data[: len(data) // 2], reason))
  return made

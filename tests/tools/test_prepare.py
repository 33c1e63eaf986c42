import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

from mn_jax.config import files
from mn_jax.data import store
from mn_jax.data.acquire import kaggle
from mn_jax.data.datasets import registry
from mn_jax.errors import InputError
from mn_jax.tools import prepare
from tests.tools.preparing import load, manifest

ROOT = pathlib.Path(__file__).parents[2]


def test_a_copy_is_packed_counted_and_written_down(copy, root, run_prepare):
  code, out, err = run_prepare("idc", f"--source={copy}")
  assert (code, err) == (0, "")
  assert "20 images of 50 pixels of 4 patients" in out
  assert "CC0" in out
  assert f"Manifest: {root / 'idc.json'}" in out
  packed = load(root, "idc", 50)
  written = manifest(root)
  counts = np.bincount(packed.labels).tolist()
  assert written["classes"] == dict(zip(packed.classes, counts, strict=True))
  for name, count in written["classes"].items():
    assert f"  {name}: {count}\n" in out
  assert written["source"] == {"kind": "path"}
  assert written["path"] == str(copy)
  assert written["fingerprint"] == packed.fingerprint
  assert written["pixels_sha256"] == packed.sha256
  assert (written["images"], written["groups"], written["group"]) == (
    20,
    4,
    "patient",
  )
  assert written["parts"] == {"none": 20}
  assert set(written["versions"]) == {"mn_jax", "numpy", "pillow"}
  assert (written["image_size"], written["other_sizes"]) == (50, "resize")


def test_a_second_run_packs_again_only_what_is_damaged(
  copy, root, run_prepare, monkeypatch
):
  run_prepare("idc", f"--source={copy}")
  before = (root / "idc.json").read_bytes()
  (pixels,) = root.glob("packed/idc-50px-*/images.u8")
  good = pixels.read_bytes()
  pixels.write_bytes(bytes(len(good)))
  code, out, _ = run_prepare("idc")
  assert code == 0
  assert "already" not in out
  assert pixels.read_bytes() == good
  shutil.rmtree(copy)
  monkeypatch.setattr(store, "load", lambda *_, **__: pytest.fail("packed"))
  code, out, err = run_prepare("idc")
  assert (code, err) == (0, "")
  assert "idc is prepared already" in out
  assert "20 images" in out
  assert (root / "idc.json").read_bytes() == before


def test_a_changed_or_another_copy_takes_the_name(
  master, copy, root, run_prepare
):
  run_prepare("idc", f"--source={copy}")
  first = manifest(root)
  new = Image.new("RGB", (50, 50))
  new.save(copy / "99_idx5_x1_y51_class1.png")
  _, out, _ = run_prepare("idc", f"--source={copy}")
  assert "21 images of 50 pixels of 5 patients" in out
  assert len(load(root, "idc", 50)) == 21
  assert manifest(root)["fingerprint"] != first["fingerprint"]
  code, out, _ = run_prepare("idc", f"--source={master}")
  assert code == 0
  assert f"idc was another copy before, {copy}\n" in out
  # The same files elsewhere give the same manifest but for what tells them.
  again = manifest(root)
  assert {key for key in first if first[key] != again[key]} == {
    "path",
    "source_stamp",
    "fingerprint",
  }


def test_training_needs_no_source_but_for_another_size(copy, root, run_prepare):
  run_prepare("idc", f"--source={copy}")
  shutil.rmtree(copy)
  assert len(load(root, "idc", 50)) == 20
  with pytest.raises(InputError) as caught:
    load(root, "idc", 32)
  message = str(caught.value)
  assert "not packed in this size" in message
  assert str(copy) in message
  assert "prepare idc --image-size=PIXELS --source=kaggle|PATH`" in message
  code, _, err = run_prepare("idc", "--image-size=32")
  assert code == 2
  assert f"{copy}, which 'idc' was packed from, is gone; valid: kaggle, " in err


def test_sizes_and_what_becomes_of_others(copy, root, run_prepare):
  (odd,) = list(copy.rglob("*.png"))[:1]
  Image.new("RGB", (50, 20)).save(odd)
  _, out, _ = run_prepare("idc", f"--source={copy}", "--other-sizes=drop")
  assert "left out: images of another size (data.other_sizes) of" in out
  assert manifest(root)["dropped"] == 1
  _, out, _ = run_prepare(
    "idc", "--image-size=16", "--other-sizes=crop", "--bits=10"
  )
  assert "data.bits=10" in out
  assert manifest(root)["bits"] == 10
  assert "20 images of 16 pixels" in out
  assert "data.image_size=16" in out
  assert "data.other_sizes=crop" in out
  assert list(root.glob("packed/idc-16px-crop-*/meta.json"))


def test_whole_images_are_prepared(copy, root, run_prepare):
  (odd,) = list(copy.rglob("*.png"))[:1]
  Image.new("RGB", (80, 50)).save(odd)
  code, _, err = run_prepare("idc", f"--source={copy}", "--short-side=40")
  assert code == 2
  assert "--short-side: got 40 with data.other_sizes 'resize'; valid: 0" in err
  code, out, err = run_prepare(
    "idc", f"--source={copy}", "--short-side=40", "--other-sizes=crop"
  )
  assert (code, err) == (0, "")
  assert "20 images with a short side of at most 40 pixels" in out
  assert "data.short_side=40" in out
  assert manifest(root)["short_side"] == 40
  assert list(root.glob("packed/idc-40px-whole-*/meta.json"))
  # Which serve any size and share of the square.
  _, out, _ = run_prepare(
    "idc",
    "--image-size=24",
    "--crop-share=0.5",
    "--short-side=40",
    "--other-sizes=crop",
  )
  assert "every byte is intact" in out
  assert "data.crop_share=0.5" in out


def test_unreadable_files_are_named_up_to_the_share(copy, root, run_prepare):
  bad = sorted(copy.rglob("*.png"))[:12]
  for path in bad:
    path.write_bytes(b"no image")
  code, _, err = run_prepare("idc", f"--source={copy}")
  assert code == 2
  assert err.startswith("prepare: --max-unreadable: at least")
  assert not (root / "idc.json").exists()
  code, out, _ = run_prepare("idc", f"--source={copy}", "--max-unreadable=0.9")
  assert code == 0
  assert out.count("unreadable: ") == 10
  assert "and 2 more; see the manifest" in out
  names = {name for name, _ in manifest(root)["quarantine"]}
  assert names == {path.name for path in bad}
  assert all(reason for _, reason in manifest(root)["quarantine"])


def test_wrong_input_is_one_line(root, run_prepare, tmp_path):
  table = tmp_path / "t.csv"
  table.touch()
  for arguments, message in (
    (["nothing"], "dataset: got 'nothing'; valid: idc, idc_sample"),
    (["idc", "--source=/no/such"], "got '/no/such', which does not exist; val"),
    (["idc", "--source=web"], "got 'web', which does not exist; valid: kaggle"),
    (["cifar100", "--source=x"], "valid: web, tfds, the folder or archive of"),
    (["idc", "--source=/", "--image-size=2000"], "--image-size: got 2000; val"),
    (["idc", "--bits=7"], "--bits: got 7; valid: 8 to 16"),
    (["idc", "--other-sizes=bend"], "--other-sizes: got 'bend'; valid: resi"),
    (["idc", "--max-unreadable=2"], "--max-unreadable: got 2.0; valid: 0 to 1"),
    (["idc_sample", "--source=/"], "got '/', and 'idc_sample' is generated"),
    (["image_folder"], "--source: got nothing, and 'image_folder' is not down"),
    (["idc", f"--source={ROOT / 'configs'}"], "--source: no file named like"),
    (["idc", f"--source={ROOT / 'LICENSE'}"], "LICENSE: not a readable"),
    (["image_folder", f"--source={table}"], "csv'; valid: a folder or archive"),
  ):
    code, out, err = run_prepare(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.startswith("prepare: ")
    assert err.count("\n") == 1
    assert not root.exists() or not list(root.glob("*.json"))


def test_a_folder_without_room_or_rights_is_refused(
  tmp_path, copy, root, run_prepare, monkeypatch, capsys
):
  (tmp_path / "file").touch()
  place = tmp_path / "file" / "root"
  arguments = ["idc", f"--source={copy}", f"--cache-dir={place}"]
  assert prepare.main(arguments) == 2
  err = capsys.readouterr().err
  assert err.startswith("prepare: --cache-dir: ")
  assert err.count("\n") == 1
  monkeypatch.setattr(kaggle, "fetch", lambda *_: pytest.fail("downloaded"))
  monkeypatch.setattr(
    "mn_jax.data.acquire.space.shutil.disk_usage",
    lambda _: type("Usage", (), {"free": 1 << 30}),
  )
  code, _, err = run_prepare("idc")
  assert code == 2
  assert "1.1 GB free; valid: a folder with 10.1 GB" in err


def test_the_command_to_train_fits_the_data(
  copy, root, run_prepare, monkeypatch
):
  _, out, _ = run_prepare("idc", f"--source={copy}", "--image-size=32")
  command = out[out.index("python -m mn_jax.main") :].replace("\\\n", " ")
  words = command.splitlines()[0].split()
  assert "--config=idc_v1" in words
  assert "data.image_size=32" in words
  assert f"data.cache_dir={root}" in words
  assert any(word.startswith("--workdir=") for word in words)
  # From anywhere, and for a data set without a config too.
  monkeypatch.chdir(root)
  _, out, _ = run_prepare("idc", "--image-size=32")
  assert "--config=idc_v1 " in out
  monkeypatch.setattr(files, "names", lambda getter: [])
  _, out, _ = run_prepare("idc", "--image-size=32")
  assert "--config=FILE \\\n    data.name=idc" in out


def test_a_relative_path_is_found_from_anywhere(
  copy, root, run_prepare, monkeypatch
):
  monkeypatch.chdir(copy.parent)
  _, out, _ = run_prepare("idc", "--source=copy")
  for line in out.splitlines():
    for path in (str(root), str(copy)):
      line = line.replace(path, "PATH")
    assert len(line) <= 80, line
  monkeypatch.chdir("/")
  assert manifest(root)["path"] == str(copy)
  assert run_prepare("idc", "--image-size=16")[0] == 0


def test_defaults_are_those_of_the_experiments():
  args = prepare._parser().parse(["idc"])
  for name in files.names("get_config"):
    data = files.read_config(name).data
    if data.short_side:  # whole images serve any size
      continue
    spec = registry.get(data.name)
    assert data.image_size == spec.image_size
    assert data.other_sizes == spec.other_sizes
    assert args.max_unreadable == data.max_unreadable


def test_real_archives_are_prepared_and_trained_from(
  shared_data, root, run_prepare
):
  for name, file, size, count in (
    ("colorectal_histology", "colorectal-histology-24-tiles.zip", 150, 24),
    ("cifar100", "cifar-100-python-part.zip", 32, 1000),
    ("chest_xray", "chest-xray-original-size-sample.zip", 224, 24),
  ):
    code, out, err = run_prepare(name, f"--source={shared_data / file}")
    assert (code, err) == (0, "")
    assert f"{count:,} images of {size} pixels" in out
    packed = load(root, name, size)
    assert packed.images.shape == (count, size, size, 3)
    assert packed.quarantine == ()
    assert sum(manifest(root, name)["classes"].values()) == count
    # They are images, not blanks.
    assert len(np.unique(packed.images[:, 0, 0], axis=0)) > 10

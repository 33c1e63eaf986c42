"""A run from weights on the hub keeps their commit."""

import pytest

from mn_jax.errors import InputError
from mn_jax.run import records, workdir
from tests import toy_transfer as toy

pytest.importorskip("huggingface_hub", reason="needs the extra 'hub'")


def write_network(folder, name, revision):
  records.write_object(
    folder / "network.json",
    {
      "network": {},
      "classes": [],
      "weights": {"name": name, "revision": revision},
    },
  )


def test_the_commit_is_that_of_the_same_name(tmp_path):
  assert workdir.weights_revision(tmp_path / "none", "hf:a/b") == ""
  (tmp_path / "seed1").mkdir()
  write_network(tmp_path / "seed1", "hf:a/b", "abc")
  assert workdir.weights_revision(tmp_path, "hf:a/b") == "abc"
  assert workdir.weights_revision(tmp_path, "hf:a/b@v1") == ""
  (tmp_path / "seed1" / "network.json").write_text("{")
  assert workdir.weights_revision(tmp_path, "hf:a/b") == ""


@pytest.mark.extended
def test_a_resumed_run_keeps_the_commit_of_its_weights(tmp_path, monkeypatch):
  from tests import hub_server
  from tests.weights import test_hub as hub_files

  name = hub_files.NAME
  config = toy.load(
    model__name="mobilenet_v2",
    model__width=0.25,
    model__transfer="fine_tune",
    model__weights=name,
  )
  with hub_server.serving() as server:
    server.publish(hub_files.REPOSITORY, hub_files.published())
    hub_files.connect(monkeypatch, server.url, tmp_path)
    assert toy.run(config, tmp_path / "run", stop_at=2)[0] is None
    server.publish(
      hub_files.REPOSITORY, hub_files.published(seed=1), commit=hub_files.SECOND
    )
    # Another run moves the branch in the cache.
    toy.build(config)
    hub_files.disconnect(monkeypatch)
    summary, printed = toy.run(config, tmp_path / "run")
  described = toy.read(tmp_path / "run", "network.json")["weights"]
  assert described["revision"] == hub_server.MAIN
  assert described["name"] == name
  assert summary["weights"].startswith(f"{name} at commit aaaaaaaaaaaa: ")
  assert summary["weights_sha256"] == described["sha256"]
  assert "Resuming" in printed
  # Without its own record the other commit is noticed by its content.
  (tmp_path / "run" / "network.json").unlink()
  (tmp_path / "run" / "summary.json").unlink()
  with pytest.raises(InputError, match=r"got other weights than"):
    toy.run(config, tmp_path / "run")

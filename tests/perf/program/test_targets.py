"""Devices to compile for: their descriptions, and what is said without them.

What a compiler makes for them is tested with the steps that it compiles.
"""

import importlib.metadata
import re

import pytest

from mn_jax.errors import InputError
from mn_jax.parallel.accelerators import ACCELERATORS, Nodes
from mn_jax.perf.program import targets

GPUS = [a for a in ACCELERATORS.values() if isinstance(a.layout, Nodes)]
V5E, H200 = ACCELERATORS["v5e"], ACCELERATORS["H200"]


@pytest.fixture
def installed(monkeypatch):
  """Makes other packages appear to be installed: name -> version."""
  # What is set there ends with the test.
  monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")

  def pretend(**versions):
    def version(name):
      try:
        return versions[name.replace("-", "_")]
      except KeyError:
        raise importlib.metadata.PackageNotFoundError(name) from None

    modules = {
      "libtpu": "libtpu" in versions,
      "jax_plugins": any(name.startswith("jax_cuda") for name in versions),
      **{
        f"jax_plugins.xla_{cuda}": f"jax_{cuda}_plugin" in versions
        for cuda in ("cuda12", "cuda13")
      },
    }
    monkeypatch.setattr(
      targets.importlib.util, "find_spec", lambda name: modules[name] or None
    )
    monkeypatch.setattr(targets.importlib.metadata, "version", version)

  return pretend


def test_descriptions_of_gpus_agree_with_the_published_rates():
  assert len(GPUS) == 4
  for chip in GPUS:
    text = targets.description(chip)

    def number(field, text=text):
      return float(re.search(rf"\b{field}: ([\d.]+)", text)[1])

    name = re.search(r'device_description_str: "(.*)"', text)[1]
    assert name.startswith(chip.device_kind)
    bandwidth = chip.memory_bytes_per_sec.value
    assert number("memory_bandwidth") == pytest.approx(bandwidth, rel=0.05)
    # A program gets three quarters of it, of gigabytes or gibibytes.
    share = chip.memory_bytes.value / number("device_memory_size")
    assert 0.69 < share < 0.76
    # Tensor cores of a generation multiply so much per core and cycle.
    cycles = number("core_count") * number("clock_rate_ghz") * 1e9
    flops = chip.flops_per_sec.value / cycles / number("major")
    assert 230 < flops < 900
    assert text.count("{") == text.count("}")


def test_a_description_is_of_one_chip():
  texts = {targets.description(chip) for chip in ACCELERATORS.values()}
  assert len(texts) == len(ACCELERATORS)


def test_a_missing_compiler_is_one_line(installed):
  installed(jax="0.12.0", jaxlib="0.12.0")
  for chip, message in (
    (V5E, r"compiling for v5e: got no libtpu; valid: .*\.\[tpu\]"),
    (H200, r"compiling for H200: got no CUDA plugin.*\.\[cuda12\]"),
  ):
    assert not targets.can_compile(chip)
    with pytest.raises(InputError, match=message) as error:
      targets.devices(chip, (2, 2))
    assert "\n" not in str(error.value)


def test_a_plugin_of_another_version_is_one_line(installed):
  installed(
    jaxlib="0.12.0", jax_cuda13_plugin="0.12.0+cuda", jax_cuda13_pjrt="0.11.2"
  )
  assert targets.can_compile(H200)
  message = r"got jax-cuda13-pjrt 0\.11\.2 beside jaxlib 0\.12\.0; .*cuda13"
  with pytest.raises(InputError, match=message):
    targets.devices(H200, (1, 1))


@pytest.mark.parametrize("chip", [V5E, H200], ids=lambda chip: chip.name)
def test_a_compiler_that_refuses_is_one_line(installed, monkeypatch, chip):
  installed(libtpu="0.0.1", jaxlib="0.12.0", jax_cuda12_plugin="0.12.0")

  def refuse(**_):
    raise NotImplementedError("topology not implemented\nfor this")

  monkeypatch.setattr(targets.topologies, "get_topology_desc", refuse)
  with pytest.raises(InputError, match=r"topology not implemented\); valid:"):
    targets.devices(chip, (1, 1))


def test_versions_are_those_of_the_plugin_that_compiles(installed):
  installed(
    jax="1", jaxlib="2", libtpu="3", jax_cuda12_plugin="4", jax_cuda12_pjrt="5"
  )
  assert targets.versions(V5E) == {"jax": "1", "jaxlib": "2", "libtpu": "3"}
  assert targets.versions(H200) == {
    "jax": "1",
    "jaxlib": "2",
    "jax-cuda12-plugin": "4",
    "jax-cuda12-pjrt": "5",
  }


def test_gpus_of_several_hosts():
  if not targets.can_compile(H200):
    pytest.skip("XLA's CUDA plugin, which describes GPUs, is missing")
  for chip in GPUS:
    devices = targets.devices(chip, (2, 4))
    assert [d.process_index for d in devices] == [0] * 4 + [1] * 4
    assert devices[0].device_kind.startswith(chip.device_kind)

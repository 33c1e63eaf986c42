"""Devices to compile for that this machine need not have: TPUs and GPUs.

libtpu compiles for every TPU slice, and XLA's CUDA plugin for every NVIDIA GPU
that it is told the properties of. Both do so on any host. What is compiled for
such devices can be read, but not run.

A GPU is described by the numbers that XLA itself ships for it; a program made
for a description is the one that the GPU would run, but for what XLA finds out
by timing kernels there: the tiles of products and the algorithms of cuDNN.
"""

import dataclasses
import importlib.metadata
import importlib.util
import os
import re
from collections.abc import Sequence

import jax
from jax.experimental import topologies

from mn_jax.errors import InputError
from mn_jax.parallel.accelerators import Accelerator, Torus

# libtpu looks for chips and asks Google's metadata server about them, unless it
# is told not to; and two programs may compile at a time.
_TPU_ENVIRONMENT = {
  "TPU_SKIP_MDS_QUERY": "1",
  "TPU_WORKER_HOSTNAMES": "localhost",
  "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
# Of v4 and v5p: chips that are linked along three axes have two cores.
_MEGACORE_AXES = 3
# The plugins that compile for NVIDIA's GPUs, the one that JAX prefers first.
_CUDA = ("cuda13", "cuda12")
_PARTS = ("plugin", "pjrt")
_RELEASE = re.compile(r"\d+(\.\d+)*")
# Packages whose versions decide on every program, besides a chip's plugin.
_PACKAGES = ("jax", "jaxlib", "flax", "optax")
# Variables that change what XLA's compilers make.
_FLAGS = ("XLA_FLAGS", "LIBTPU_INIT_ARGS")


@dataclasses.dataclass(frozen=True)
class _Gpu:
  """Properties of a GPU that its compiler asks for, as XLA publishes them.

  Attributes:
    name: as its driver reports it.
    source: file in xla/backends/gpu/target_config/specs of openxla/xla.
    compute_capability: the major number; the minor one is 0.
    features: whether it has instructions for this generation alone ('sm_90a').
    cores: streaming multiprocessors.
    fpus_per_core: float32 units of each.
    clock_ghz: the highest.
    shared_bytes: shared memory of each core.
    shared_optin_bytes: what one block may take of it.
    l2_bytes: second-level cache.
    memory_bytes: of the whole device.
    memory_bytes_per_sec: its bandwidth.
  """

  name: str
  source: str
  compute_capability: int
  features: bool
  cores: int
  fpus_per_core: int
  clock_ghz: float
  shared_bytes: int
  shared_optin_bytes: int
  l2_bytes: int
  memory_bytes: int
  memory_bytes_per_sec: int


_GPUS = {
  "A100": _Gpu(
    name="NVIDIA A100-SXM4-80GB",
    source="a100_sxm_80.txtpb",
    compute_capability=8,
    features=False,
    cores=108,
    fpus_per_core=64,
    clock_ghz=1.41,
    shared_bytes=167_936,
    shared_optin_bytes=166_912,
    l2_bytes=41_943_040,
    memory_bytes=85_100_068_864,
    memory_bytes_per_sec=2_039_040_000_000,
  ),
  "H100": _Gpu(
    name="NVIDIA H100 80GB HBM3",
    source="h100_sxm.txtpb",
    compute_capability=9,
    features=True,
    cores=132,
    fpus_per_core=128,
    clock_ghz=1.98,
    shared_bytes=233_472,
    shared_optin_bytes=232_448,
    l2_bytes=52_428_800,
    memory_bytes=84_942_979_072,
    memory_bytes_per_sec=3_352_320_000_000,
  ),
  "H200": _Gpu(
    name="NVIDIA H200",
    source="h200.txtpb",
    compute_capability=9,
    features=True,
    cores=132,
    fpus_per_core=128,
    clock_ghz=1.98,
    shared_bytes=233_472,
    shared_optin_bytes=232_448,
    l2_bytes=52_428_800,
    memory_bytes=151_397_597_184,
    memory_bytes_per_sec=4_800_000_000_000,
  ),
  "B200": _Gpu(
    name="NVIDIA B200",
    source="b200.txtpb",
    compute_capability=10,
    features=True,
    cores=148,
    fpus_per_core=128,
    clock_ghz=1.965,
    shared_bytes=233_472,
    shared_optin_bytes=232_448,
    l2_bytes=132_644_864,
    memory_bytes=191_514_411_008,
    memory_bytes_per_sec=7_672_320_000_000,
  ),
}
# All of these GPUs have the limits that are numbers here. The versions of cuDNN
# and CUDA are those that JAX's wheels are built for.
_GPU_TARGET = """\
# By {source} of openxla/xla.
gpu_device_info {{
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: {shared_bytes}
  threads_per_core_limit: 2048
  core_count: {cores}
  fpus_per_core: {fpus_per_core}
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: {memory_bytes_per_sec}
  l2_cache_size: {l2_bytes}
  clock_rate_ghz: {clock_ghz}
  device_memory_size: {memory_bytes}
  shared_memory_per_block_optin: {shared_optin_bytes}
  cuda_compute_capability {{
    major: {compute_capability}
    feature_extension: {extension}
  }}
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  thread_dim_limit_x: 1024
  thread_dim_limit_y: 1024
  thread_dim_limit_z: 64
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 patch: 0 }}
runtime_version {{ major: 12 minor: 9 patch: 0 }}
device_description_str: "{name}"
"""


def can_compile(chip: Accelerator) -> bool:
  """Whether the package that compiles for a chip is installed here."""
  return _plugin(chip) is not None


def devices(chip: Accelerator, shape: tuple[int, ...]) -> Sequence[jax.Device]:
  """Chips that are connected, as descriptions for the compiler.

  JAX is told to use the CPU of this machine alone, and GPUs are hidden from
  this process: call this before anything is to run on them, or in a process of
  its own.

  Args:
    chip: the kind of accelerator.
    shape: chips along each axis of a slice of TPUs; of GPUs, the number of
      hosts and of GPUs in each.

  Raises:
    InputError: if the package that compiles for it is missing or does not fit
      the installed JAX.
  """
  plugin = _plugin(chip)
  if plugin is None:
    raise InputError(_missing(chip))
  jax.config.update("jax_platforms", "cpu")
  try:
    if isinstance(chip.layout, Torus):
      return _tpus(chip, shape)
    return _gpus(chip, shape, plugin)
  except (NotImplementedError, jax.errors.JaxRuntimeError) as error:
    raise InputError(
      f"compiling for {chip.name}: got {plugin} that cannot describe it "
      f"({str(error).splitlines()[0]}); valid: a version that fits jax "
      f"{jax.__version__}, as pip install '.[{_extra(plugin)}]' has it"
    ) from error


def description(chip: Accelerator) -> str:
  """What decides on a program besides its devices' number: text, for a digest.

  Of a TPU it is its name, of which libtpu knows the rest; of a GPU the
  description that XLA's compiler is given.
  """
  if isinstance(chip.layout, Torus):
    return chip.name
  gpu = _GPUS[chip.name]
  return _GPU_TARGET.format(
    **dataclasses.asdict(gpu),
    extension="ACCELERATED_FEATURES" if gpu.features else "NONE",
  )


def versions(chip: Accelerator) -> dict[str, str]:
  """Versions of the installed packages that decide on a program for a chip."""
  plugin = _plugin(chip)
  parts = ("libtpu",)
  if plugin != "libtpu":
    parts = tuple(f"jax-{plugin}-{part}" for part in _PARTS)
  return {
    name: version
    for name in (*_PACKAGES, *parts)
    if (version := _version(name))
  }


def flags() -> dict[str, str]:
  """The variables of this process that change what a compiler makes."""
  return {name: os.environ[name] for name in _FLAGS if os.environ.get(name)}


def topology(shape: tuple[int, ...]) -> str:
  """Writes the shape of a slice, or hosts x GPUs: '4x4', '2x8'."""
  return "x".join(map(str, shape))


def _plugin(chip: Accelerator) -> str | None:
  """'libtpu', or the CUDA plugin that JAX will take; None if it is missing."""
  if isinstance(chip.layout, Torus):
    return "libtpu" if importlib.util.find_spec("libtpu") else None
  if importlib.util.find_spec("jax_plugins") is None:
    return None
  found = (
    name
    for name in _CUDA
    if importlib.util.find_spec(f"jax_plugins.xla_{name}")
  )
  return next(found, None)


def _missing(chip: Accelerator) -> str:
  """One line on the extra that compiles for a chip."""
  if isinstance(chip.layout, Torus):
    return (
      f"compiling for {chip.name}: got no libtpu; valid: with the extra 'tpu' "
      "(pip install '.[tpu]' in a checkout)"
    )
  return (
    f"compiling for {chip.name}: got no CUDA plugin of XLA; valid: with the "
    "extra 'cuda12' or 'cuda13' (pip install '.[cuda12]' in a checkout)"
  )


def _extra(plugin: str) -> str:
  return "tpu" if plugin == "libtpu" else plugin


def _tpus(chip: Accelerator, shape: tuple[int, ...]) -> Sequence[jax.Device]:
  for name, value in _TPU_ENVIRONMENT.items():
    os.environ.setdefault(name, value)
  # The two cores of such a chip act as one device, which v4's else do not.
  megacore = len(shape) == _MEGACORE_AXES
  described = topologies.get_topology_desc(
    platform="tpu",
    topology_name=f"{chip.name}:{topology(shape)}",
    **({"chip_config_name": "megacore"} if megacore else {}),
  )
  return described.devices


def _gpus(
  chip: Accelerator, shape: tuple[int, ...], plugin: str
) -> Sequence[jax.Device]:
  # JAX warns of another version and goes on without a part of the plugin.
  jaxlib = _version("jaxlib")
  for part in _PARTS:
    name = f"jax-{plugin}-{part}"
    installed = _version(name)
    if installed and _release(installed) != _release(jaxlib):
      raise InputError(
        f"compiling for {chip.name}: got {name} {installed} beside jaxlib "
        f"{jaxlib}; valid: the same "
        f"version of both, as pip install '.[{plugin}]' has it"
      )
  # So that the plugin finds what it finds on a machine without a GPU.
  os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
  hosts, per_host = shape
  described = topologies.get_topology_desc(
    platform="cuda",
    target_config=description(chip),
    # Slices, hosts of each, GPUs of each host. GPUs of one slice are linked by
    # NVLink, which does not leave a host of these.
    topology=f"{hosts}x1x{per_host}",
  )
  return described.devices


def _version(package: str) -> str | None:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return None


def _release(version: str | None) -> str:
  """'0.12.0' of '0.12.0.dev3' or '0.12.0+local'."""
  match = _RELEASE.match(version or "")
  return match[0] if match else ""

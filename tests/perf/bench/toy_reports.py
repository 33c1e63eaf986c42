"""Reports of the benchmark, written by hand."""

MACHINE = {
  "date": "2026-01-02 03:04 UTC",
  "command": "python -m mn_jax.tools.bench",
  "cpu": "Abacus",
  "cores": 2,
  "system": "Linux",
  "mn_jax": "0.1.0",
}
SIDE = {
  "images_per_sec": 1234.5,
  "median_seconds": 0.02,
  "min_seconds": 0.01,
  "max_seconds": 0.03,
  "repeats": 7,
  "compile_seconds": 7.2,
  "peak_memory_bytes": 3 << 20,
  "peak_device_memory_bytes": None,
  "percent_of_floor": 41.6,
  "idle_cpu_share": 0.01,
  "device": "cpu",
}
NETWORK_REPORT = {
  "of": "model",
  "ours": {
    **SIDE,
    "compiler_memory_bytes": 2 << 20,
    "versions": {"python": "3.12.1", "jax": "0.12.0"},
  },
  "peers": {
    "timm-eager": {
      **SIDE,
      "images_per_sec": 999.0,
      "idle_cpu_share": 0.5,
      "ratio": 1.236,
      "ratio_interval": [1.1, 1.4],
      "variant": "timm-eager",
      "other_variants": {"timm-eager, channels first": 888.0},
      "versions": {"python": "3.11.7", "torch": "2.13.0"},
    },
    "plain-jax": {"failed": "plain-jax: out of luck"},
  },
  "floors": {
    "flops_per_image": 1e8,
    "bytes_per_image": 1e6,
    "matmul_flops_per_sec": 1e11,
    "copy_bytes_per_sec": 1e10,
    "flop_images_per_sec": 3000.0,
    "byte_images_per_sec": 9000.0,
    "images_per_sec": 3000.0,
  },
  "case": {
    "model": "mobilenet_v1",
    "resolution": 50,
    "batch": 32,
    "mode": "train",
    "dtype": "float32",
  },
  "machine": MACHINE,
}
OPERATIONS_REPORT = {
  "of": "ops",
  "case": {**NETWORK_REPORT["case"], "batch": 8},
  "device": "cpu",
  "machine": {**MACHINE, "date": "2026-01-03 00:00 UTC"},
  "versions": {"jax": "0.12.0"},
  "operations": [
    {
      "kind": "depthwise",
      "input": [4, 4, channels],
      "output": [4, 4, channels],
      "window": [3, 3],
      "stride": 1,
      "layers": ["a"] * count,
      "floors": {"forward": {"flop_milliseconds": 0.5, "byte_milliseconds": 1}},
      "times": {
        "forward": {
          "one": {"milliseconds": 2.0, "percent_of_floor": 50.0},
          "other": {"milliseconds": 4.0, "percent_of_floor": 25.0},
          "elsewhere": None,
        }
      },
    }
    for channels, count in ((8, 1), (16, 2))
  ],
}
RUN_REPORT = {
  "of": "run",
  "experiment": "toy",
  "model": "mobilenet_v1",
  "device": "cpu",
  "steps": 7,
  "batch": 8,
  "images_per_sec": 321.0,
  "data_wait_share": 0.0123,
  "outside_share": 0.25,
  "compile_seconds": 62.0,
  "wall_seconds": 125.0,
  "first_step_cold_seconds": 61.0,
  "first_step_warm_seconds": 7.0,
  "peak_memory_bytes": 5 << 20,
  "peak_device_memory_bytes": 4 << 20,
  "versions": {},
  "machine": MACHINE,
}
INPUT_REPORT = {
  "of": "input",
  "data": "idc",
  "image_size": 50,
  "batch": 8,
  "images_per_sec": {"decode": [10.0, 30.0, 20.0]},
  "machine": MACHINE,
}

"""A trained network as a file for other runtimes: LiteRT, ONNX, StableHLO."""

"""A network as an ONNX file: `file` writes and opens it."""

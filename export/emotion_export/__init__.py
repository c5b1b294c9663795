"""Export: a checkpoint in, an ONNX file out that was proven against PyTorch before it exists."""

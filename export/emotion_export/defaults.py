"""Defaults of the commands and functions of this package, without imports for a fast start."""

PARITY_FACES = 1024
# The lowest opset that torch's exporter writes without its version converter. The lowest IR
# version for it is 8, which onnxruntime reads since 1.14 (early 2023).
OPSET = 18
ACCURACY_LOSS = 0.003  # of int8 on held-out faces
RECALL_LOSS = 0.005  # the same for each class
OTHER_COVERAGE = 0.95  # share of held-out faces of the labels that must not become "other"

"""The operators that a model file may use: only arithmetic on tensors.

Not allowed are control flow (``Loop``, ``Scan``, ``If``: a file of a few bytes could run forever),
random numbers (which make a parity check with PyTorch impossible), text, sequences and image
decoders. Custom operators, which are code from elsewhere, are not allowed either.
"""

from __future__ import annotations

# Of the ONNX standard, opset 25.
_ONNX_OPERATORS = """
Abs Acos Acosh Add AffineGrid And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool
BatchNormalization BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Celu
CenterCropPad Clip Col2Im Compress Concat Constant ConstantOfShape Conv ConvInteger ConvTranspose
Cos Cosh CumSum DeformConv DepthToSpace DequantizeLinear Det Div Dropout DynamicQuantizeLinear
Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather GatherElements GatherND Gelu Gemm
GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization
HardSigmoid HardSwish Hardmax Identity InstanceNormalization IsInf IsNaN LRN LSTM
LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization LpPool MatMul
MatMulInteger Max MaxPool MaxRoiPool MaxUnpool Mean MeanVarianceNormalization Min Mish Mod Mul Neg
NonMaxSuppression NonZero Not OneHot Or PRelu Pad Pow QLinearConv QLinearMatMul QuantizeLinear
RMSNormalization RNN Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax
ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence
RoiAlign RotaryEmbedding Round Scatter ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin
Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Swish Tan Tanh
ThresholdedRelu Tile TopK Transpose Trilu Unique Unsqueeze Upsample Where Xor
"""

# onnxruntime's optimiser replaces operators by these in an .ort file.
_FUSED_OPERATORS = """
BiasGelu BiasSoftmax DequantizeLinear DynamicQuantizeMatMul FastGelu FusedConv FusedGemm
FusedMatMul Gelu GridSample MatMulIntegerToFloat NhwcConv NhwcFusedConv NhwcMaxPool QGemm QLinearAdd
QLinearAveragePool QLinearConcat QLinearConv QLinearGlobalAveragePool QLinearLeakyRelu QLinearMul
QLinearSigmoid QLinearSoftmax QLinearWhere QuantizeLinear QuickGelu SkipLayerNormalization
"""
_BLOCKED_OPERATORS = """
AveragePool Conv GlobalAveragePool GlobalMaxPool MaxPool ReorderInput ReorderOutput Upsample
"""

_OPERATORS_BY_DOMAIN = {
    "": frozenset(_ONNX_OPERATORS.split()),
    "ai.onnx": frozenset(_ONNX_OPERATORS.split()),
    "com.microsoft": frozenset(_FUSED_OPERATORS.split()),
    "com.microsoft.nchwc": frozenset(_BLOCKED_OPERATORS.split()),
}


def check_operator(domain: str, name: str) -> None:
    """Refuse an operator that is not on the list.

    Args:
        domain: Domain of the operator; empty for the ONNX standard.
        name: Name of the operator, such as ``Conv``.

    Raises:
        ValueError: It is not on the list; the message is to follow the name of a file.
    """
    if name not in _OPERATORS_BY_DOMAIN.get(domain, ()):
        shown = f"{domain}.{name}" if domain else name
        raise ValueError(
            f"it uses the operator {shown[:80]!r}, which is not on the list of those that a model "
            f"file may use (arithmetic on tensors; no control flow, randomness or custom code)"
        )

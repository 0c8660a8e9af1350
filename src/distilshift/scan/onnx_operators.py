"""The ONNX operators that a text classifier's network may have."""

from __future__ import annotations

# By domain: what a BERT, its quantized form and their usual fusions need. No loop, no condition, no sparse tensor.
OPERATORS = {
    "": frozenset(
        {
            *("Abs", "Add", "And", "Cast", "CastLike", "Clip", "Concat", "Constant", "ConstantOfShape", "CumSum"),
            *("DequantizeLinear", "Div", "Dropout", "DynamicQuantizeLinear", "Equal", "Erf", "Exp", "Expand"),
            *("Flatten", "Floor", "Gather", "GatherElements", "GatherND", "Gelu", "Gemm", "Greater", "GreaterOrEqual"),
            *("Identity", "LayerNormalization", "Less", "LessOrEqual", "Log", "MatMul", "MatMulInteger", "Max"),
            *("Min", "Mul", "Neg", "Not", "Or", "Pow", "QuantizeLinear", "Range", "Reciprocal", "ReduceMax"),
            *("ReduceMean", "ReduceSum", "Relu", "Reshape", "Shape", "Sigmoid", "Sign", "Slice", "Softmax", "Split"),
            *("Sqrt", "Squeeze", "Sub", "Tanh", "Transpose", "Trilu", "Unsqueeze", "Where"),
        }
    ),
    "com.microsoft": frozenset(
        {
            *("Attention", "BiasGelu", "DynamicQuantizeMatMul", "EmbedLayerNormalization", "FastGelu", "FusedGemm"),
            *("FusedMatMul", "Gelu", "MatMulIntegerToFloat", "MatMulNBits", "MultiHeadAttention", "QAttention"),
            *("QEmbedLayerNormalization", "QuickGelu", "SkipLayerNormalization"),
        }
    ),
}
# Domains by the names that onnxruntime knows them under.
STANDARD = {"": "", "ai.onnx": "", "com.microsoft": "com.microsoft"}

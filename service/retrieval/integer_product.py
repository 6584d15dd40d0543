"""The product with the item matrix in eight-bit integers, summed exactly in 32 bits."""

import os
from typing import Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

# Activations are unsigned for the processor's sake: level 0 is stored as 128.
ZERO_POINT: Final = 128
MAX_ACTIVATION: Final = 127
OPSET: Final = 21
IR_VERSION: Final = 10


@final
class IntegerProduct:
    """``level_BH @ weight_IH.T`` by onnxruntime, with one thread of the caller's choice.

    Raises nothing at run time: shapes are the caller's word.

    Args:
        weight_IH: int8; a packed copy is kept, I x H bytes.
        threads: Of a product. With one there is no pool of threads at all.
    """

    def __init__(self, weight_IH: NDArray[np.int8], threads: int) -> None:
        # It reports its use to its maker (1.29 and later, on Linux too), by a thread that starts
        # with the import and that no fork survives, unless it was told before that it must not.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        import onnxruntime  # noqa: PLC0415 - not before the line above

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # A pool that waits for work by spinning takes the core that the event loop needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            _graph(weight_IH), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, level_BH: NDArray[np.uint8]) -> Tensor:
        """Multiply; levels come with ``ZERO_POINT`` added. int32 [B, I]."""
        (sum_BI,) = self._session.run(None, {"level_BH": level_BH})
        return torch.from_numpy(sum_BI)


def largest_weight() -> int:
    """Find the largest weight that this processor multiplies without error: 127 or 63.

    Without the VNNI instructions two products are added in 16 bits: 255 x 127 x 2 overflows there
    and is clipped, 255 x 63 x 2 is not.
    """
    extreme_IH = np.full((64, 64), 127, dtype=np.int8)
    level_BH = np.full((1, 64), ZERO_POINT + MAX_ACTIVATION, dtype=np.uint8)
    sum_BI = IntegerProduct(extreme_IH, threads=1)(level_BH)
    return 127 if bool((sum_BI == 64 * 127 * MAX_ACTIVATION).all()) else 63


def _graph(weight_IH: NDArray[np.int8]) -> bytes:
    num_items, hidden_dim = weight_IH.shape
    product = helper.make_node("MatMulInteger", ["level_BH", "weight_HI", "zero_point"], ["sum_BI"])
    levels = helper.make_tensor_value_info("level_BH", TensorProto.UINT8, ["B", hidden_dim])
    sums = helper.make_tensor_value_info("sum_BI", TensorProto.INT32, ["B", num_items])
    constants = [
        numpy_helper.from_array(np.ascontiguousarray(weight_IH.T), "weight_HI"),
        numpy_helper.from_array(np.array(ZERO_POINT, dtype=np.uint8), "zero_point"),
    ]
    graph = helper.make_graph([product], "integer_product", [levels], [sums], constants)
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
    serialized: bytes = model.SerializeToString()
    return serialized

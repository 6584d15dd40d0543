"""The search in eight-bit integers: bounds of all scores, candidates, their exact scores.

One onnxruntime graph, and so one call a batch: between the dozens of calls that it stands for, a
thread would wait for the interpreter each time, while the event loop holds it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.onnx.graph import OnnxGraph
from service.onnx.session import open_session

# Activations are unsigned for the processor's sake: level 0 is stored as 128.
ZERO_POINT: Final = 128
MAX_LEVEL: Final = 127
# Keeps the scale of a zero vector from being zero.
SMALLEST: Final = np.float32(1e-30)
# Of the error's own rounding: some units in the last place of each term.
SAFETY: Final = np.float32(1 + 1e-4)
# Candidates come from the blocks with the largest maxima: a maximum costs a pass of the vector
# unit, a selection from what is left a tenth of one from the catalogue.
ITEMS_A_BLOCK: Final = 32
# Items that are rounded at once: of 600 numbers each, 2 MB, which stay in the caches. A million
# take 1.5 s so, and 15 s and another 5 GB in one piece.
ROUNDED_AT_A_TIME: Final = 1_024
# 64 products of 1 and 1 make 64; clipped, less than 1.
UNCLIPPED: Final = 63.9


# A filter a row, where there is one.
Shown: TypeAlias = Sequence[NDArray[np.bool_] | None]


@final
@dataclass(frozen=True, slots=True, eq=False)
class QuantizedItems:
    """An item matrix in integers: ``v_i = scale_i w_i + scale_i left_i``.

    Attributes:
        weight_HI: int8, w, by dimension as the product reads it.
        scale_I: float32.
        weight_norm: The largest |w_i|.
        left_norm: The largest |left_i|.
    """

    weight_HI: NDArray[np.int8]
    scale_I: NDArray[np.float32]
    weight_norm: float
    left_norm: float

    @classmethod
    def of(cls, vectors_IH: Tensor, largest: int) -> "QuantizedItems":
        """Round each vector to whole multiples of its own scale, ``largest`` at most."""
        num_items, hidden_dim = vectors_IH.shape
        weight_HI = torch.empty(hidden_dim, num_items, dtype=torch.int8)
        scale_I = torch.empty(num_items)
        weight_norm = left_norm = 0.0
        for start in range(0, num_items, ROUNDED_AT_A_TIME):
            block = slice(start, start + ROUNDED_AT_A_TIME)
            vector_bH = vectors_IH[block]
            scale_b = vector_bH.abs().amax(dim=1).clamp_min(float(SMALLEST)) / largest
            level_bH = vector_bH / scale_b[:, None]
            weight_bH = level_bH.round()
            scale_I[block], weight_HI[:, block] = scale_b, weight_bH.T
            weight_norm = max(weight_norm, float(weight_bH.norm(dim=1).max()))
            left_norm = max(left_norm, float(level_bH.sub_(weight_bH).norm(dim=1).max()))
        return cls(weight_HI.numpy(), scale_I.numpy(), weight_norm, left_norm)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a search gives.

    Attributes:
        bound_BI: float32; no item scores more, but for the rounding of this very sum. -inf where
            an item is hidden.
        bound_BC: The largest of them, in no order; C is what was asked for.
        item_BC: int64, their items.
        score_BC: float64, what these score.
    """

    bound_BI: Tensor
    bound_BC: Tensor
    item_BC: Tensor
    score_BC: Tensor


@final
class IntegerSearch:
    """Searches one item matrix.

    Args:
        items: In integers; a packed copy is kept, I x H bytes.
        vectors_IH: float32, as they are; not copied.
        bias_I: float32.
        threads: Of the product. With one there is no pool of threads at all.
    """

    def __init__(
        self, items: QuantizedItems, vectors_IH: Tensor, bias_I: Tensor, threads: int
    ) -> None:
        self._vectors_IH = vectors_IH.numpy()
        self._bias_1I = bias_I.numpy()[None]
        self._session = open_session(_graph(items, bias_I.numpy()), threads)
        self.most_candidates = len(bias_I) // ITEMS_A_BLOCK or len(bias_I)

    def __call__(
        self, query_BH: Tensor, hidden_N: NDArray[np.int64], count: int, shown: Shown = ()
    ) -> Found:
        """Search with B queries.

        Args:
            query_BH: float32.
            hidden_N: Cells ``row * I + item`` whose items may not be found, each once.
            count: C, ``most_candidates`` at most.
            shown: bool [I] a row, the items that may be found; None: all. Empty: all in all rows.
        """
        feed = {
            "query_BH": query_BH.numpy(),
            "hidden_N1": hidden_N[:, None],
            "count": np.array([count], dtype=np.int64),
            "bias_XI": self._filtered(shown),
            "vectors_IH": self._vectors_IH,
        }
        return Found(*(torch.from_numpy(output) for output in self._session.run(None, feed)))

    def _filtered(self, shown: Shown) -> NDArray[np.float32]:
        """Give the bias of all rows, or each row its own: -inf is left of what a filter hides.

        The bias is added anyway, so that a filter costs the making of its row and nothing else;
        many rows share one filter, as a rule, and a batch that does needs no more than one row.
        """
        different = {id(shown_I): shown_I for shown_I in shown}
        bias_of = {key: self._shown_bias(shown_I) for key, shown_I in different.items()}
        if len(bias_of) <= 1:
            return next(iter(bias_of.values()), self._bias_1I[0])[None]
        return np.stack([bias_of[id(shown_I)] for shown_I in shown])

    def _shown_bias(self, shown_I: NDArray[np.bool_] | None) -> NDArray[np.float32]:
        bias_I = self._bias_1I[0]
        return bias_I if shown_I is None else np.where(shown_I, bias_I, np.float32(-np.inf))


def largest_weight() -> int:
    """Find the largest weight that this processor multiplies without error: 127 or 63.

    Without the VNNI instructions two products are added in 16 bits: 255 x 127 x 2 overflows there
    and is clipped, 255 x 63 x 2 is not.
    """
    ones_IH = torch.ones(64, 64)
    items = QuantizedItems.of(ones_IH, 127)
    search = IntegerSearch(items, ones_IH, torch.zeros(64), threads=1)
    found = search(torch.ones(1, 64), np.empty(0, dtype=np.int64), count=1)
    unclipped = bool((found.bound_BI > UNCLIPPED).all())
    return 127 if unclipped else 63


def _graph(items: QuantizedItems, bias_I: NDArray[np.float32]) -> bytes:
    op = OnnxGraph()
    hidden_dim, num_items = items.weight_HI.shape
    bound_BI = _hidden(op, _bounds(op, items), num_items)
    bound_BC, item_BC = _candidates(op, bound_BI, num_items)
    vectors_BCH = op.cast(op("Gather", "vectors_IH", item_BC), np.float64)
    query_BH1 = op("Unsqueeze", op.cast("query_BH", np.float64), op.integers(2))
    product_BC = op("Squeeze", op("MatMul", vectors_BCH, query_BH1), op.integers(2))
    bias_BC = op.cast(op("Gather", op.constant(bias_I), item_BC), np.float64)
    score_BC = op("Add", product_BC, bias_BC)
    return op.serialized(
        inputs={
            "query_BH": (np.float32, ("B", hidden_dim)),
            "hidden_N1": (np.int64, ("N", 1)),
            "count": (np.int64, (1,)),
            "bias_XI": (np.float32, ("X", num_items)),
            "vectors_IH": (np.float32, (num_items, hidden_dim)),
        },
        outputs={
            "bound_BI": (bound_BI, np.float32),
            "bound_BC": (bound_BC, np.float32),
            "item_BC": (item_BC, np.int64),
            "score_BC": (score_BC, np.float64),
        },
    )


def _bounds(op: OnnxGraph, items: QuantizedItems) -> str:
    """``scale_i t (a . w_i + e) + b_i``, see ``quantized.py``."""
    query_BH, along_H = "query_BH", op.integers(1)
    largest_B1 = op("ReduceMax", op("Abs", query_BH), along_H, keepdims=1)
    largest_B1 = op("Max", largest_B1, op.constant(SMALLEST))
    scale_B1 = op("Div", largest_B1, op.constant(np.float32(MAX_LEVEL)))
    level_BH = op("Round", op("Div", query_BH, scale_B1))
    left_BH = op("Sub", query_BH, op("Mul", level_BH, scale_B1))
    left_B1 = op("ReduceL2", left_BH, along_H, keepdims=1)
    norm_B1 = op("ReduceL2", query_BH, along_H, keepdims=1)
    error_B1 = op(
        "Add",
        op("Mul", left_B1, op.constant(SAFETY * np.float32(items.weight_norm))),
        op("Mul", norm_B1, op.constant(SAFETY * np.float32(items.left_norm))),
    )
    shifted_BH = op.cast(op("Add", level_BH, op.constant(np.float32(ZERO_POINT))), np.uint8)
    weight_HI = op.constant(items.weight_HI)
    sum_BI = op("MatMulInteger", shifted_BH, weight_HI, op.constant(np.uint8(ZERO_POINT)))
    reach_BI = op("Add", op.cast(sum_BI, np.float32), op("Div", error_B1, scale_B1))
    scaled_BI = op("Mul", op("Mul", reach_BI, scale_B1), op.constant(items.scale_I))
    return op("Add", scaled_BI, "bias_XI")


def _hidden(op: OnnxGraph, bound_BI: str, num_items: int) -> str:
    flat = op("Reshape", bound_BI, op.integers(-1))
    num_hidden = op("Slice", op("Shape", "hidden_N1"), op.integers(0), op.integers(1))
    nothing_N = op("Expand", op.constant(np.float32(-np.inf)), num_hidden)
    flat = op("ScatterND", flat, "hidden_N1", nothing_N)
    return op("Reshape", flat, op.integers(-1, num_items))


def _candidates(op: OnnxGraph, bound_BI: str, num_items: int) -> list[str]:
    """Pick the ``count`` largest bounds from the blocks with the ``count`` largest maxima.

    Of J blocks block j has the items j, j + J, j + 2 J and so on: maxima run along the rows.
    """
    num_blocks = num_items // ITEMS_A_BLOCK
    if num_blocks == 0:
        return op.outputs("TopK", bound_BI, "count", count=2, sorted=0)
    whole = num_blocks * ITEMS_A_BLOCK
    inside_BI = op("Slice", bound_BI, op.integers(0), op.integers(whole), op.integers(1))
    shape = op.integers(-1, ITEMS_A_BLOCK, num_blocks)
    maximum_BJ = op("ReduceMax", op("Reshape", inside_BI, shape), op.integers(1), keepdims=0)
    block_BC = op.outputs("TopK", maximum_BJ, "count", count=2, sorted=0)[1]
    first_E1 = op.constant(np.arange(0, whole, num_blocks, dtype=np.int64)[:, None])
    item_BEC = op("Add", op("Unsqueeze", block_BC, op.integers(1)), first_E1)
    item_BN = op("Flatten", item_BEC)
    rest_R = op.constant(np.arange(whole, num_items, dtype=np.int64))
    num_rows = op("Slice", op("Shape", bound_BI), op.integers(0), op.integers(1))
    rest_BR = op("Expand", rest_R, op("Concat", num_rows, op.integers(num_items - whole), axis=0))
    item_BN = op("Concat", item_BN, rest_BR, axis=1)
    bound_BN = op("GatherElements", bound_BI, item_BN, axis=1)
    bound_BC, position_BC = op.outputs("TopK", bound_BN, "count", count=2, sorted=0)
    return [bound_BC, op("GatherElements", item_BN, position_BC, axis=1)]

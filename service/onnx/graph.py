"""Writes an ONNX graph as one writes expressions: each call adds a node and names its output."""

from collections.abc import Mapping, Sequence
from typing import Final, final

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, ValueInfoProto, helper

OPSET: Final = 21
IR_VERSION: Final = 10


@final
class OnnxGraph:
    """A graph in the making."""

    def __init__(self) -> None:
        # One message from the start: what is put together later is copied, constants and all.
        self._model = ModelProto(ir_version=IR_VERSION)
        self._graph = self._model.graph
        self._num_names = 0

    def __call__(self, operator: str, *inputs: str, **attributes: float) -> str:
        """Apply an operator; of what it gives, the first output."""
        (output,) = self.outputs(operator, *inputs, count=1, **attributes)
        return output

    def outputs(self, operator: str, *inputs: str, count: int, **attributes: float) -> list[str]:
        """Apply an operator; give all its outputs."""
        names = [self._new_name() for _ in range(count)]
        self._add_node(operator, inputs, names, **attributes)
        return names

    def constant(self, value: NDArray[np.generic] | np.generic) -> str:
        """Hold an array, or a number as an array of one."""
        name = self._new_name()
        array = np.atleast_1d(value)
        self._graph.initializer.add(
            name=name,
            data_type=helper.np_dtype_to_tensor_dtype(array.dtype),
            dims=array.shape,
            raw_data=array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes(),
        )
        return name

    def integers(self, *values: int) -> str:
        """Hold a list of whole numbers, as shapes and axes are."""
        return self.constant(np.array(values, dtype=np.int64))

    def cast(self, name: str, to: type[np.generic]) -> str:
        """Convert to another type of number."""
        return self("Cast", name, to=helper.np_dtype_to_tensor_dtype(np.dtype(to)))

    def serialized(
        self,
        inputs: Mapping[str, tuple[type[np.generic], tuple[int | str, ...]]],
        outputs: Mapping[str, tuple[str, type[np.generic]]],
    ) -> bytes:
        """Close the graph.

        Args:
            inputs: Type and shape by name; a dimension with a name may be any.
            outputs: By the name that the caller asks for: the output of a node, and its type.
        """
        for name, (source, _) in outputs.items():
            self._add_node("Identity", [source], [name])
        self._graph.name = "graph"
        self._graph.input.extend(_value(name, *typed) for name, typed in inputs.items())
        self._graph.output.extend(_value(name, dtype, None) for name, (_, dtype) in outputs.items())
        self._model.opset_import.add(version=OPSET)
        content: bytes = self._model.SerializeToString()
        return content

    def _add_node(
        self, operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: float
    ) -> None:
        node = helper.make_node(operator, inputs, outputs, None, None, None, None, **attributes)
        self._graph.node.append(node)

    def _new_name(self) -> str:
        self._num_names += 1
        return f"value_{self._num_names}"


def _value(
    name: str, dtype: type[np.generic], shape: tuple[int | str, ...] | None
) -> ValueInfoProto:
    return helper.make_tensor_value_info(
        name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape
    )

"""A session keeps what it needs of a graph, and no more."""

import sys

import numpy as np

from service.onnx.graph import OnnxGraph
from service.onnx.session import open_session


def test_a_session_lets_go_of_the_bytes_it_was_made_from() -> None:
    op = OnnxGraph()
    output = op("Add", "x", op.constant(np.ones(1_000, dtype=np.float32)))
    graph = op.serialized({"x": (np.float32, (1_000,))}, {"y": (output, np.float32)})
    holders = sys.getrefcount(graph)
    session = open_session(graph, threads=1)
    assert sys.getrefcount(graph) == holders
    (sum_N,) = session.run(None, {"x": np.ones(1_000, dtype=np.float32)})
    assert (sum_N == 2).all()

"""Opens onnxruntime sessions: what its threads may do, and that it keeps to itself."""

import os
from typing import Any


def open_session(graph: bytes, threads: int) -> Any:  # noqa: ANN401 - onnxruntime has no types
    """Make a graph ready to run on the CPU.

    Args:
        graph: A serialized model.
        threads: Of one operator. With one there is no pool of threads at all.
    """
    # It reports its use to its maker (1.29 and later, on Linux too), by a thread that starts
    # with the import and that no fork survives, unless it was told before that it must not.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime  # noqa: PLC0415 - not before the line above

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A plan of each batch size's memory: no faster at 5,000 to 100,000 items, and two thirds more
    # memory (of a million items in batches of 32, 500 MB in place of 300).
    options.enable_mem_pattern = False
    # A pool that waits for work by spinning takes the core that the event loop needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    # It would hold the graph for as long as it lives, to fall back to other providers, of which
    # there are none: of a million items x 600 another 600 MB.
    session._model_bytes = None  # noqa: SLF001 - there is no other way to give the bytes back
    return session

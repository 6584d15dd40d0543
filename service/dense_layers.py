"""The dense layers of a model, between its sparse first one and its item matrix.

Torch lets go of the interpreter in each of some thirty calls a batch, and beside a busy event loop
waits each time to have it back. One onnxruntime session is one call.
"""

import copy
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any, Literal, Protocol, TypeAlias, final

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.fx.proxy import TraceError

from service.autoencoders.base import Autoencoder
from service.onnx.graph import OnnxGraph
from service.onnx.session import open_session
from service.onnx.translation import UntranslatableError, is_identity, translate

logger = logging.getLogger(__name__)

Stage: TypeAlias = Literal["latents", "queries"]


class DenseLayers(Protocol):
    """The second and the third step of a model; each ``Autoencoder`` has them."""

    def latents(self, gathered_BF: Tensor) -> Tensor:
        """Finish an encoding, latents_BD."""

    def queries(self, latents_BD: Tensor) -> Tensor:
        """Decode up to the last hidden layer, query_BH."""


def dense_layers_of(model: Autoencoder, threads: int) -> DenseLayers:
    """Pick how the dense layers of a model run: on a GPU, and where ONNX lacks one, by torch.

    Args:
        model: Frozen.
        threads: Of a session.
    """
    if not model.item_bias_I.is_cpu:
        return model
    try:
        return OnnxLayers(model, threads)
    except (UntranslatableError, TraceError):
        return model
    except Exception:  # of onnxruntime, which has a dozen of its own
        logger.exception("the dense layers stay with torch: ONNX did not take them")
        return model


@final
class OnnxLayers:
    """Dense layers as onnxruntime sessions, equal to the model's own but for the last digit.

    Args:
        model: Frozen, on the CPU.
        threads: Of a session.

    Raises:
        UntranslatableError: The model does what there is no translation for.
        torch.fx.proxy.TraceError: What it does depends on the values.
    """

    def __init__(self, model: Autoencoder, threads: int) -> None:
        self._latents = _compiled(model, "latents", model.gathered_dim, threads)
        self._queries = _compiled(model, "queries", model.latent_dim, threads)

    def latents(self, gathered_BF: Tensor) -> Tensor:
        """Finish an encoding, latents_BD."""
        return self._latents(gathered_BF)

    def queries(self, latents_BD: Tensor) -> Tensor:
        """Decode up to the last hidden layer, query_BH."""
        return self._queries(latents_BD)


@final
class _Stage(nn.Module):
    """One stage of a model as a module, which is what can be traced."""

    def __init__(self, model: Autoencoder, name: Stage) -> None:
        super().__init__()
        self.model = model
        self._name = name

    def forward(self, value_BX: Tensor) -> Tensor:
        result_BY: Tensor = getattr(self.model, self._name)(value_BX)
        return result_BY


@final
class _Tracer(fx.Tracer):
    """Traces what its own thread calls, and nothing else.

    While it traces, torch.fx has all modules of the process call it: those, too, of the model that
    answers meanwhile on another thread, of which it would say that they are no part of this one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:  # noqa: ANN401 - as torch.fx has it
        """Note the call of a layer; on another thread, only call it."""
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(
        self,
        attr: str,
        attr_val: Any,  # noqa: ANN401 - as above
        parameter_proxy_cache: dict[str, fx.Proxy],
    ) -> Any:  # noqa: ANN401 - as above
        """Note the use of a parameter; on another thread, only give it."""
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)


def _traced(stage: _Stage) -> fx.Graph:
    """Trace a stage, on a thread of its own and without weights.

    A tracer, what it traced, and all frames below it refer to each other, and stay until Python's
    collector comes: for objects that are frozen at the start of the service, never.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="tracer") as thread:
        return thread.submit(lambda: _Tracer().trace(stage)).result()


def _without_weights(model: Autoencoder) -> Autoencoder:
    tensors = chain(model.parameters(), model.buffers())
    # What a copy finds in its memo it takes from there.
    memo = {id(t): nn.Parameter(t.to("meta"), requires_grad=False) for t in tensors}
    return copy.deepcopy(model, memo)


def _compiled(
    model: Autoencoder, name: Stage, dim: int, threads: int
) -> Callable[[Tensor], Tensor]:
    traced = _traced(_Stage(_without_weights(model), name))
    if is_identity(traced):
        return lambda value_BX: value_BX
    op = OnnxGraph()
    output = translate(traced, _Stage(model, name), op, "value_BX")
    graph = op.serialized(
        inputs={"value_BX": (np.float32, ("B", dim))}, outputs={"result_BY": (output, np.float32)}
    )
    session = open_session(graph, threads)
    return lambda value_BX: torch.from_numpy(session.run(None, {"value_BX": value_BX.numpy()})[0])

"""How the items of a served model are found: the ways there are, and the choice between them."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from typing import Final, Literal, TypeAlias, final

import numpy as np
import torch
from torch import Tensor

from service.autoencoders.base import Autoencoder
from service.canaries import Canary
from service.checkpoint import Checkpoint
from service.errors import SettingsError
from service.histories import HistoryBatch
from service.ranker import retriever_for
from service.retrieval.ann import ApproximateRetriever, drawn_histories
from service.retrieval.base import Retriever, Wanted
from service.retrieval.certificate import Count
from service.retrieval.fastest import Batch, FastestRetriever
from service.retrieval.item_item import ItemItemRetriever
from service.retrieval.quantized import QuantizedRetriever

logger = logging.getLogger(__name__)

RetrievalMode: TypeAlias = Literal["auto", "exact", "int8", "ann"]
# The list that speed and recall are measured with.
TYPICAL_K: Final = 20
RECALL_ROWS: Final = 32
# The int8 search is one ONNX graph with the items in it, and so one protobuf message: less than
# 2 GiB. The graph without its constants takes some kB.
MAX_GRAPH_BYTES: Final = 2**31 - 2**20


@final
@dataclass(frozen=True, slots=True, eq=False)
class FoundRetrieval:
    """A way to find items, and how much of the exact lists it found when it was loaded.

    Attributes:
        retriever: The way.
        proven: A way that is exact, to repeat the trainer's answers by: the same one, unless it is
            approximate. What an index misses says nothing of the model.
        recall: Share of the items of exact lists that its lists have, over the bundle's canaries;
            1 unless the way is approximate.
    """

    retriever: Retriever
    proven: Retriever
    recall: float


def find_retrieval(
    checkpoint: Checkpoint, mode: RetrievalMode, threads: int, count: Count
) -> FoundRetrieval:
    """Pick how a model's items are found, and measure it against exact lists.

    Args:
        checkpoint: The model and its canaries, which speed and recall are measured with.
        mode: What the operator chose. A model without an item matrix has one way only.
        threads: Of a product.
        count: Told what proofs took.

    Raises:
        SettingsError: The mode is not for this device or so large a model, or lacks its package.
    """
    exact = retriever_for(checkpoint.model, count)
    if isinstance(exact, ItemItemRetriever):
        return FoundRetrieval(exact, exact, recall=1.0)
    batch_of = partial(_batch_of, checkpoint.model, checkpoint.canaries)
    with torch.inference_mode():
        if mode == "ann":
            index = _ann(checkpoint.model, threads)
            return FoundRetrieval(index, exact, index.measured_recall)
        retriever = exact
        if mode == "int8" or (mode == "auto" and _has_int8(checkpoint.model)):
            retriever = _int8(checkpoint.model, threads, count)
        if mode == "auto" and retriever is not exact:
            retriever = FastestRetriever([exact, retriever], batch_of, time.perf_counter)
        recall = _recall(retriever, exact, *batch_of(RECALL_ROWS))
        return FoundRetrieval(retriever, retriever, recall)


def _has_int8(model: Autoencoder) -> bool:
    if not model.item_bias_I.is_cpu:
        return False
    obstacle = _too_large(model)
    if obstacle is not None:
        logger.info("items are found by exact search: int8 %s", obstacle)
    return obstacle is None


def _too_large(model: Autoencoder) -> str | None:
    num_items, hidden_dim = model.item_vectors_IH.shape
    # A byte a number; a scale and a bias an item.
    if num_items * (hidden_dim + 8) <= MAX_GRAPH_BYTES:
        return None
    return f"has no room for {num_items} items x {hidden_dim} numbers: it ends at 2 GiB"


def _int8(model: Autoencoder, threads: int, count: Count) -> Retriever:
    if not model.item_bias_I.is_cpu:
        raise SettingsError("RETRIEVAL=int8 is for the CPU; a GPU takes exact")
    if (obstacle := _too_large(model)) is not None:
        raise SettingsError(f"RETRIEVAL=int8 {obstacle}; take exact or ann")
    vectors_IH, bias_I = model.item_vectors_IH, model.item_bias_I
    return QuantizedRetriever(vectors_IH, bias_I, model.linear, threads, count)


def _ann(model: Autoencoder, threads: int) -> ApproximateRetriever:
    if model.linear is not None:
        raise SettingsError("RETRIEVAL=ann finds no item of a linear part; a hybrid takes auto")
    # Of what is frequent the index would find more than of what real users have.
    rows = drawn_histories(model.num_items, np.random.default_rng(0))
    histories = HistoryBatch.from_rows(rows).to(model.item_bias_I.device)
    sample_SH = model.queries(model.encode(histories))
    vectors_IH, bias_I = model.item_vectors_IH, model.item_bias_I
    return ApproximateRetriever(vectors_IH, bias_I, sample_SH, threads=threads)


def _batch_of(model: Autoencoder, canaries: Sequence[Canary], size: int) -> Batch:
    """Make a batch of the trainer's histories, again and again if need be."""
    rows = list(islice(cycle(canaries), size))
    histories = HistoryBatch.from_rows(
        [row.history for row in rows], [row.user_index for row in rows]
    ).to(model.item_bias_I.device)
    wanted = [Wanted(TYPICAL_K, row.history.item_index_N) for row in rows]
    return model.queries(model.encode(histories)), wanted, histories


def _recall(
    retriever: Retriever,
    exact: Retriever,
    query_BH: Tensor,
    wanted: Sequence[Wanted],
    histories: HistoryBatch,
) -> float:
    found = retriever.top_k(query_BH, wanted, histories)
    true = exact.top_k(query_BH, wanted, histories)
    pairs = zip(found, true, strict=True)
    hits = sum(len(np.intersect1d(one.item_index_K, other.item_index_K)) for one, other in pairs)
    return hits / max(1, sum(len(top.item_index_K) for top in true))

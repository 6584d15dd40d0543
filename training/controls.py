"""What the controls of a list cost in accuracy, and what they give, on held-out users."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from service.autoencoders.variational import VariationalAutoencoder
from service.catalog import Catalog
from service.histories import History
from service.ranker import ModelRanker
from service.refiner import Refiner, Wish
from service.reranking.taste import Taste, pool_size
from service.retrieval.base import Wanted
from training.data.split import HeldOut
from training.evaluate import blocks, rows_of
from training.metrics import ranking_metrics

# Lists as callers ask for them.
K: Final = 20
# Of users that are measured: a list with a taste takes some milliseconds to pick.
MAX_USERS: Final = 2000
WISHES: Final[Mapping[str, Wish]] = {
    "none": Wish(),
    "diversity 0.2": Wish(Taste(diversity=0.2)),
    "diversity 0.5": Wish(Taste(diversity=0.5)),
    "popularity_penalty 0.2": Wish(Taste(popularity_penalty=0.2)),
    "popularity_penalty 0.5": Wish(Taste(popularity_penalty=0.5)),
    "calibration 0.2": Wish(Taste(calibration=0.2)),
    "calibration 0.5": Wish(Taste(calibration=0.5)),
    "exploration 0.5": Wish(exploration=0.5),
    "exploration 1": Wish(exploration=1.0),
}


@final
@dataclass(frozen=True, slots=True)
class ControlledFigures:
    """What lists under a control are like.

    Attributes:
        recall_at_20: Hits / min(20, targets).
        ndcg_at_20: Its ideal cut at min(20, targets).
        likeness: The mean cosine of two items of a list; less is more diverse.
        popularity: The mean of the training users that have an item.
        categories: The mean number of categories in a list.
    """

    recall_at_20: float
    ndcg_at_20: float
    likeness: float
    popularity: float
    categories: float


def measure_controls(
    ranker: ModelRanker, catalog: Catalog, held_out: HeldOut
) -> dict[str, ControlledFigures]:
    """Measure each control that the model has something for, by its name and value.

    Args:
        ranker: The model.
        catalog: Its items.
        held_out: Users; the first ``MAX_USERS`` are measured.
    """
    can_draw = isinstance(ranker.model, VariationalAutoencoder)
    has_vectors = ranker.model.item_vectors_IH.shape[1] > 0
    has_categories = any(catalog.categories)
    wishes = {
        name: wish
        for name, wish in WISHES.items()
        if (can_draw or not wish.exploration)
        and (has_vectors or not wish.taste.diversity)
        and (has_categories or not wish.taste.calibration)
    }
    refiner = Refiner(ranker, catalog)
    return {
        name: _figures(_lists(ranker, refiner, held_out, wish), ranker, catalog, held_out)
        for name, wish in wishes.items()
    }


def controls_table(figures: Mapping[str, ControlledFigures]) -> Table:
    """Set the figures in rows by control."""
    columns = ("recall@20", "ndcg@20", "likeness", "popularity", "categories")
    table = Table("control", *columns, title=f"lists of {K} under the controls of the service")
    for name, own in figures.items():
        accuracy = (f"{own.recall_at_20:.4f}", f"{own.ndcg_at_20:.4f}", f"{own.likeness:.3f}")
        table.add_row(name, *accuracy, f"{own.popularity:,.0f}", f"{own.categories:.1f}")
    return table


def _lists(
    ranker: ModelRanker, refiner: Refiner, held_out: HeldOut, wish: Wish
) -> list[NDArray[np.int64]]:
    lists: list[NDArray[np.int64]] = []
    for histories, wanted in blocks(held_out):
        rows = [History.of(want.hidden_item_index) for want in wanted]
        latents_BD = ranker.encode(histories)
        if wish.exploration:
            for row, history in enumerate(rows):
                own = Wish(exploration=wish.exploration, seed=len(lists) + row)
                latents_BD[row] = refiner.drawn(history, own)
        pools = [Wanted(pool_size(K), want.hidden_item_index) for want in wanted]
        for pool, history in zip(ranker.decode(latents_BD, pools, histories), rows, strict=True):
            top = refiner.picked(pool, K, wish, history.item_index_N)
            lists.append(top.item_index_K)
        if len(lists) >= MAX_USERS:
            break
    return lists[:MAX_USERS]


def _figures(
    lists: Sequence[NDArray[np.int64]], ranker: ModelRanker, catalog: Catalog, held_out: HeldOut
) -> ControlledFigures:
    metrics = ranking_metrics(lists, rows_of(held_out.target)[: len(lists)]).to_dict()
    vectors_IH = ranker.model.item_vectors_IH.detach().cpu().numpy()
    categories = [{name for item in top for name in catalog.categories[item]} for top in lists]
    return ControlledFigures(
        recall_at_20=float(metrics["recall@20"]),
        ndcg_at_20=float(metrics["ndcg@20"]),
        likeness=float(np.mean([_likeness(vectors_IH[top]) for top in lists])),
        popularity=float(np.mean([catalog.popularity_I[top].mean() for top in lists])),
        categories=float(np.mean([len(names) for names in categories])),
    )


def _likeness(vector_KH: NDArray[np.float32]) -> float:
    norm_K1 = np.linalg.norm(vector_KH, axis=1, keepdims=True)
    unit_KH = vector_KH / np.maximum(norm_K1, np.finfo(np.float32).tiny)
    pairs = np.triu_indices(len(unit_KH), k=1)
    return float((unit_KH @ unit_KH.T)[pairs].mean()) if len(unit_KH) > 1 else 0.0

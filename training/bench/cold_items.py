"""How good predicted vectors are: hide items from training, add them, ask for them.

``python -m training.bench.cold_items LOG --items ITEMS --model multvae``
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, TypeAlias, final

import numpy as np
import polars as pl
import torch
import typer
from numpy.typing import NDArray
from scipy.sparse import csr_array

from service import checkpoint
from service.catalog import Catalog
from service.histories import HistoryBatch
from service.ranker import ModelRanker
from service.retrieval.base import TopK, Wanted
from service.retrieval.ranking import rank
from training.cold_items import DEFAULT_LIFT, add_items
from training.config import TrainingConfig, parse_setting
from training.data.datasets import Dataset
from training.data.items import ITEM_SCHEMA
from training.data.split import HeldOut
from training.evaluate import Ranker, evaluate
from training.export import export
from training.fitting import fit
from training.metrics import RankingMetrics
from training.presets import preset
from training.progress import TrainingProgress, metrics_table
from training.verbs.options import (
    ColumnsOption,
    ItemsOption,
    JsonOption,
    SetOption,
    console,
    data_options,
    load,
    write_json,
)

ItemIndex: TypeAlias = NDArray[np.int64]
Figures: TypeAlias = Mapping[str, RankingMetrics]


@final
@dataclass(frozen=True, slots=True)
class Hidden:
    """A data set without some of its items, and what held-out users did with these.

    Attributes:
        warm: What is left to train on.
        items: The hidden ones, of ``ITEM_SCHEMA``.
        asked: Test users; the trained items first, then the hidden ones, which the targets are
            among. Histories hold trained items only.
        both: The same users and histories; targets are all items.
        shown: The same users; histories hold hidden items too, targets trained ones only.
        unshown: As ``shown``, without the hidden items in the histories.
    """

    warm: Dataset
    items: pl.DataFrame
    asked: HeldOut
    both: HeldOut
    shown: HeldOut
    unshown: HeldOut


def hide_items(dataset: Dataset, share: float, generator: np.random.Generator) -> Hidden:
    """Take items away as if nobody had ever had them."""
    num_items = len(dataset.catalog)
    drawn = generator.choice(num_items, round(num_items * share), replace=False)
    is_hidden_I = np.isin(np.arange(num_items), drawn)
    warm_W, cold_C = np.flatnonzero(~is_hidden_I), np.flatnonzero(is_hidden_I)
    catalog = _only(dataset.catalog, warm_W)
    split = replace(
        dataset.split,
        train=dataset.split.train[:, warm_W],
        item_ids=catalog.item_ids,
        valid=_columns(dataset.split.valid, warm_W),
        test=_columns(dataset.split.test, warm_W),
    )
    cold = _only(dataset.catalog, cold_C)
    test = _columns(dataset.split.test, np.concatenate([warm_W, cold_C]))
    is_warm_I = np.arange(num_items) < len(warm_W)
    known_history = _masked(test.history, is_warm_I)
    return Hidden(
        warm=replace(dataset, split=split, catalog=catalog),
        items=pl.DataFrame(
            {
                "item_id": cold.item_ids,
                "title": cold.titles,
                "categories": [list(names) for names in cold.categories],
            },
            schema=ITEM_SCHEMA,
        ),
        asked=replace(test, history=known_history, target=_masked(test.target, ~is_warm_I)),
        both=replace(test, history=known_history),
        shown=replace(test, target=_masked(test.target, is_warm_I)),
        unshown=replace(test, history=known_history, target=_masked(test.target, is_warm_I)),
    )


def category_popularity(catalog: Catalog, items: pl.DataFrame) -> NDArray[np.float64]:
    """Guess the popularity of items: the mean over their categories of the trained items' mean."""
    by_category: dict[str, list[int]] = {}
    for names, popularity in zip(catalog.categories, catalog.popularity_I, strict=True):
        for name in names:
            by_category.setdefault(name, []).append(popularity)
    mean_of = {name: float(np.mean(values)) for name, values in by_category.items()}
    overall = float(catalog.popularity_I.mean())
    return np.array(
        [
            np.mean([mean_of.get(name, overall) for name in names] or [overall])
            for names in items["categories"].to_list()
        ]
    )


def measure(model: Ranker, hidden: Hidden, generator: np.random.Generator) -> dict[str, Figures]:
    """Measure a model with added items beside what needs no model.

    Returns:
        By question (a title of a table), figures by ranker.
    """
    warm = hidden.warm.catalog
    popularity_I = np.concatenate([warm.popularity_I, category_popularity(warm, hidden.items)])
    rankers: dict[str, Ranker] = {
        "chance": Chance(len(popularity_I), generator),
        "popularity within category": Fixed(popularity_I),
        "predicted vectors": model,
    }
    trained = np.arange(len(warm))
    return {
        "hidden items, ranked among themselves": {
            name: evaluate(WithoutItems(ranker, trained), hidden.asked)
            for name, ranker in rankers.items()
        },
        "hidden items, ranked among all items": {
            name: evaluate(ranker, hidden.asked) for name, ranker in rankers.items()
        },
        "all items": {
            "without the hidden ones": evaluate(
                WithoutItems(model, np.arange(len(warm), len(popularity_I))), hidden.both
            ),
            "predicted vectors": evaluate(model, hidden.both),
        },
        "trained items, histories with hidden items": {
            "hidden items left out": evaluate(model, hidden.unshown),
            "predicted rows": evaluate(model, hidden.shown),
        },
    }


@final
class Fixed:
    """The same scores for everybody; a ranker."""

    def __init__(self, score_I: NDArray[np.float64]) -> None:
        self._score_I = torch.from_numpy(score_I)

    def top_k(self, histories: HistoryBatch, wanted: Sequence[Wanted]) -> list[TopK]:
        """Give one list per history; hidden items never come back."""
        return rank(self._score_I.repeat(len(histories), 1), wanted)


@final
class Chance:
    """Scores drawn anew for every list; a ranker."""

    def __init__(self, num_items: int, generator: np.random.Generator) -> None:
        self._num_items = num_items
        self._generator = generator

    def top_k(self, histories: HistoryBatch, wanted: Sequence[Wanted]) -> list[TopK]:
        """Give one list per history; hidden items never come back."""
        drawn_BI = self._generator.random((len(histories), self._num_items))
        return rank(torch.from_numpy(drawn_BI), wanted)


@final
class WithoutItems:
    """A ranker that never gives some items."""

    def __init__(self, ranker: Ranker, items: ItemIndex) -> None:
        self._ranker = ranker
        self._items = items

    def top_k(self, histories: HistoryBatch, wanted: Sequence[Wanted]) -> list[TopK]:
        """Give one list per history; hidden items never come back."""
        fewer = [Wanted(want.k, np.union1d(want.hidden_item_index, self._items)) for want in wanted]
        return self._ranker.top_k(histories, fewer)


def main(
    log: Annotated[str, typer.Argument(help="A log, or the name of a data set.")],
    *,
    model: Annotated[str, typer.Option(help="The model to train.")] = "multvae",
    items: ItemsOption = None,
    columns: ColumnsOption = "",
    share: Annotated[float, typer.Option(min=0.01, max=0.9, help="Of items to hide.")] = 0.1,
    lift: Annotated[float, typer.Option(help="As in add-items.")] = DEFAULT_LIFT,
    set_: SetOption = None,
    seed: Annotated[int, typer.Option(help="Of the draw of the items.")] = 0,
    json: JsonOption = None,
) -> None:
    """Hide items from training, add them by their features, ask for them."""
    dataset = load(log, data_options(items, columns, "strong", None))
    generator = np.random.default_rng(seed)
    hidden = hide_items(dataset, share, generator)
    train = hidden.warm.split.train
    settings = preset(model, train.nnz) | dict(parse_setting(text) for text in set_ or [])
    config = TrainingConfig.of(settings)
    with tempfile.TemporaryDirectory() as folder:
        with TrainingProgress(console, config.epochs, train.shape[0]) as progress:
            result = fit(config, hidden.warm, progress)
        export(result.model, hidden.warm, config, {}, Path(folder))
        added = add_items(Path(folder), hidden.items, lift=lift)
        figures = measure(ModelRanker(checkpoint.load(added.bundle).model), hidden, generator)
    for question, rows in figures.items():
        console.print(metrics_table(rows, question))
    if json:
        record = {q: {n: m.to_dict() for n, m in rows.items()} for q, rows in figures.items()}
        write_json(json, {"model": model, "lift": lift, "data": dataset.name, "figures": record})


def _only(catalog: Catalog, index_N: ItemIndex) -> Catalog:
    return Catalog(
        item_ids=tuple(catalog.item_ids[index] for index in index_N),
        titles=tuple(catalog.titles[index] for index in index_N),
        categories=tuple(catalog.categories[index] for index in index_N),
        popularity_I=catalog.popularity_I[index_N],
    )


def _columns(held_out: HeldOut, index_N: ItemIndex) -> HeldOut:
    return replace(
        held_out, history=held_out.history[:, index_N], target=held_out.target[:, index_N]
    )


def _masked(matrix: csr_array, kept_I: NDArray[np.bool_]) -> csr_array:
    masked = csr_array(matrix * kept_I[None, :])
    masked.eliminate_zeros()
    masked.sort_indices()
    return masked


if __name__ == "__main__":
    typer.run(main)

"""Fits AutoRec: users restore their ratings, or items do, and validation RMSE picks the epoch."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter
from scipy.sparse import csr_array
from torch import nn

from service.autoencoders.autorec_item import AutoRecItem, AutoRecItemConfig
from service.autoencoders.base import Autoencoder
from service.histories import UNKNOWN_USER, HistoryBatch
from training.config import TrainingConfig
from training.data.datasets import Dataset
from training.data.ratings import Ratings
from training.data.split import HeldOut, Split
from training.distributed import World
from training.errors import BadInputError
from training.evaluate import part_of
from training.loop import Resumable, TrainingResult, Watcher, train
from training.rating_metrics import RatingMetrics, evaluate_ratings, pooled
from training.state import EpochReport

RIDGES: Final = (1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 250.0, 500.0)
# Validation users that choose the ridge; each costs one solve per candidate, milliseconds.
CHOOSING_USERS: Final = 500
ITEMS_PER_BLOCK: Final = 500


@final
class RatingTask:
    """Restore the ratings of every row, users or items; predict the held-out ones of these."""

    def __init__(
        self,
        rows: csr_array,
        held_out: HeldOut,
        stray_M: NDArray[np.float32],
        world: World | None = None,
    ) -> None:
        self._rows = rows
        self._world = world or World.alone()
        self._held_out = part_of(held_out, self._world.shard(len(held_out.user_ids)))
        self._stray_M = stray_M[self._world.shard(len(stray_M))]

    @property
    def rows(self) -> csr_array:
        """float32, the training ratings of each row."""
        return self._rows

    def measure(self, model: Autoencoder) -> dict[str, float]:
        """Predict the validation ratings, each process its own; all get the same figures."""
        own = evaluate_ratings(model, self._held_out, self._stray_M).to_dict()
        shards = self._world.gathered_by_name(own)
        return pooled([RatingMetrics.of(each) for each in shards]).to_dict()

    def merit(self, valid: Mapping[str, float]) -> float:
        """Give the RMSE with its sign turned: less is better."""
        return -valid["rmse"]


def fit_by_users(
    config: TrainingConfig,
    dataset: Dataset,
    watcher: Watcher,
    resumable: Resumable | None,
    world: World,
) -> TrainingResult:
    """Train a user-based AutoRec.

    Raises:
        BadInputError: The data set was not split by ratings.
    """
    ratings = _ratings_of(dataset, config)
    task = RatingTask(dataset.split.train, dataset.split.valid, ratings.strays["valid"], world)
    scaled = config.model_copy(update={"architecture": _with_scale(config, ratings)})
    return train(scaled, task, watcher, resumable, world)


def fit_by_items(
    config: TrainingConfig,
    dataset: Dataset,
    watcher: Watcher,
    resumable: Resumable | None,
    world: World,
) -> TrainingResult:
    """Train an item-based AutoRec: the user-based one with users and items exchanged.

    The network's codes of the items become the item matrix, and its output layer the users' rows.
    What encodes items is of no use in a bundle, and stays behind.

    Raises:
        BadInputError: The data set was not split by ratings.
    """
    ratings, split = _ratings_of(dataset, config), dataset.split
    shape = TypeAdapter(AutoRecItemConfig).validate_python(_with_scale(config, ratings))
    network = {
        "latent_dim": shape.latent_dim,
        "activation": shape.activation,
        "dropout": shape.dropout,
        "centred": False,
        "scale": dataclasses.asdict(shape.scale),
    }
    held_out = _held_out_by_item(split)
    task = RatingTask(_by_item(split.train), held_out, ratings.strays["valid"], world)
    result = train(
        config.model_copy(update={"model": "autorec-user", "architecture": network}),
        task,
        _CountingUsers(watcher, split.train.shape),
        resumable,
        world,
    )
    model = _served(result.model, shape, task.rows)
    facts: dict[str, Any] = {}
    if shape.ridge is None:
        rmse_of = _rmse_by_ridge(model, split.valid)
        ridge = min(rmse_of, key=rmse_of.__getitem__)
        model.config = dataclasses.replace(shape, ridge=ridge)
        facts = {"ridge": ridge}
    num_users, num_items = split.train.shape
    users_per_second = result.users_per_second * num_users / num_items
    return dataclasses.replace(result, model=model, users_per_second=users_per_second, facts=facts)


@final
class _CountingUsers:
    """Passes steps over items on as if they went over users; an epoch adds up to all of them."""

    def __init__(self, watcher: Watcher, shape: tuple[int, int]) -> None:
        self._watcher = watcher
        self._users_per_item = shape[0] / shape[1]

    def on_step(self, users: float) -> None:
        self._watcher.on_step(users * self._users_per_item)

    def on_epoch(self, report: EpochReport, best_epoch: int) -> None:
        self._watcher.on_epoch(report, best_epoch)


def _ratings_of(dataset: Dataset, config: TrainingConfig) -> Ratings:
    if dataset.ratings is None:
        raise BadInputError(
            f"{config.model} learns from ratings, and {dataset.name} is split by likes"
        )
    return dataset.ratings


def _with_scale(config: TrainingConfig, ratings: Ratings) -> dict[str, Any]:
    given = config.architecture.get("scale", {})
    return {**config.architecture, "scale": {**dataclasses.asdict(ratings.scale), **given}}


def _by_item(matrix: csr_array) -> csr_array:
    turned = matrix.T.tocsr()
    turned.sort_indices()
    return turned


def _held_out_by_item(split: Split) -> HeldOut:
    """Ask for the validation ratings of every item, of users in the order of training."""
    entries = split.valid.target.tocoo()
    place = (entries.col, split.valid.user_index_U[entries.row])
    target = csr_array((entries.data, place), shape=split.train.shape[::-1])
    target.sort_indices()
    num_items = len(split.item_ids)
    return HeldOut(
        history=_by_item(split.train),
        target=target,
        user_ids=split.item_ids,
        user_index_U=np.full(num_items, UNKNOWN_USER),
    )


@torch.no_grad()
def _served(network: Autoencoder, shape: AutoRecItemConfig, rows: csr_array) -> AutoRecItem:
    """Build the served model out of a trained network whose rows are items."""
    device = network.item_bias_I.device
    codes: list[torch.Tensor] = []
    for start in range(0, rows.shape[0], ITEMS_PER_BLOCK):
        block = rows[start : start + ITEMS_PER_BLOCK]
        nobody_B = np.full(block.shape[0], UNKNOWN_USER)
        batch = HistoryBatch.from_csr(block.indptr, block.indices, block.data, nobody_B)
        codes.append(network.encode(batch.to(device)))
    code_IH = torch.cat(codes)
    user_rows_UD = torch.cat([network.item_vectors_IH, network.item_bias_I[:, None]], dim=1)
    with torch.device("meta"):
        model = AutoRecItem(shape, rows.shape[0], rows.shape[1])
    model.item_vectors_IH = nn.Parameter(torch.cat([code_IH, code_IH.new_ones(len(code_IH), 1)], 1))
    model.item_bias_I = nn.Parameter(code_IH.new_zeros(len(code_IH)))
    model.user_rows_UD = nn.Parameter(user_rows_UD)
    model.mean_row_D = nn.Parameter(user_rows_UD.double().mean(dim=0).float())
    return model.freeze()


def _rmse_by_ridge(model: AutoRecItem, valid: HeldOut) -> dict[float, float]:
    chosen = np.unique(np.linspace(0, len(valid.user_ids) - 1, CHOOSING_USERS).astype(int))
    strangers = HeldOut(
        history=valid.history[chosen],
        target=valid.target[chosen],
        user_ids=tuple(valid.user_ids[row] for row in chosen),
        user_index_U=np.full(len(chosen), UNKNOWN_USER),
    )
    shape = model.config
    rmse_of: dict[float, float] = {}
    for ridge in RIDGES:
        model.config = dataclasses.replace(shape, ridge=ridge)
        nobody = np.empty(0, dtype=np.float32)
        rmse_of[ridge] = evaluate_ratings(model, strangers, nobody).rmse
    model.config = shape
    return rmse_of

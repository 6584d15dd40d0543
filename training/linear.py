"""Fits EASE and EDLAE: closed forms, regularised as validation users like it best, then pruned."""

import dataclasses
import time
from typing import Any, Final

import numpy as np
import torch
from pydantic import TypeAdapter
from scipy.sparse import csr_array

from service.autoencoders import ARCHITECTURES
from service.autoencoders.item_item import ItemItem
from service.autoencoders.linear import LinearAutoencoder
from service.ranker import ModelRanker
from training.closed_form import ClosedForm, ndcg_by_user, some_of, tuned
from training.config import TrainingConfig
from training.data.datasets import Dataset
from training.errors import BadInputError
from training.loop import Resumable, TrainingResult, Watcher
from training.pruning import Loss, Pruned, prune
from training.regularizer import Regularizer
from training.state import ANEW

# Orders items that nothing in a history speaks for; scores are some hundredths and more.
BIAS_OF_THE_MOST_POPULAR: Final = 1e-6


def fit_linear(
    config: TrainingConfig, dataset: Dataset, watcher: Watcher, resumable: Resumable | None
) -> TrainingResult:
    """Fit an EASE or an EDLAE; what of ``l2`` and ``dropout`` is not given validation chooses.

    Settings of the gradient loop (``epochs``, ``learning_rate`` and so on) play no part, nor does
    chance.

    Raises:
        BadInputError: It does not fit into memory, or there is to be a run to go on with.
    """
    if resumable is not None and resumable.resume:
        raise BadInputError(
            f"nothing to resume: {config.model} has a closed form and no epochs; {ANEW}"
        )
    started = time.monotonic()
    train = dataset.split.train
    shape = TypeAdapter(ARCHITECTURES[config.model].config).validate_python(config.architecture)

    def hear(share: float) -> None:
        watcher.on_step(train.shape[0] * share)

    given = getattr(shape, "dropout", 0.0)  # EASE has none
    regularizer = tuned(dataset.split, shape.l2, given, hear)
    dense = ClosedForm(train, regularizer)
    valid = some_of(dataset.split.valid)
    dense_ndcg_U = ndcg_by_user(dense, valid)
    bias_I = _popularity_bias_I(train)

    def model_of(matrix: ItemItem) -> LinearAutoencoder:
        return _model(config.model, _resolved(shape, regularizer, matrix), matrix, bias_I)

    def loss_of(matrix: ItemItem) -> Loss:
        return Loss.between(dense_ndcg_U, ndcg_by_user(ModelRanker(model_of(matrix)), valid))

    pruned = prune(dense.precision, loss_of, shape.pruning_loss)
    seconds = time.monotonic() - started
    return TrainingResult(
        model=model_of(pruned.matrix),
        reports=(),
        best_epoch=0,
        interrupted=False,
        seconds=seconds,
        users_per_second=train.shape[0] / seconds,
        facts={**_settings(shape, regularizer), **_facts(pruned, float(dense_ndcg_U.mean()))},
    )


def _facts(pruned: Pruned, dense_ndcg: float) -> dict[str, float]:
    return {
        "density": pruned.density,
        "valid ndcg@100, every weight": dense_ndcg,
        "valid ndcg@100, pruned": dense_ndcg - pruned.loss.mean,
        "lost by pruning": pruned.loss.mean,
        "lost by pruning, standard error": pruned.loss.standard_error,
    }


def _model(name: str, config: object, matrix: ItemItem, bias_I: torch.Tensor) -> LinearAutoencoder:
    num_items = len(bias_I)
    with torch.device("meta"):
        model = ARCHITECTURES[name].build(config, num_items, 0)
    assert isinstance(model, LinearAutoencoder)  # noqa: S101 - FITTERS sends no other
    model.item_vectors_IH = torch.nn.Parameter(torch.empty(num_items, 0))
    model.item_bias_I = torch.nn.Parameter(bias_I)
    model.linear = matrix
    return model.freeze()


def _resolved(shape: Any, regularizer: Regularizer, matrix: ItemItem) -> object:  # noqa: ANN401 - a config
    chosen = _settings(shape, regularizer)
    return dataclasses.replace(shape, **chosen, num_weights=len(matrix.weight_M))


def _settings(shape: Any, regularizer: Regularizer) -> dict[str, float]:  # noqa: ANN401 - a config
    """Give the parts of the regulariser that the architecture has."""
    theirs = {field.name for field in dataclasses.fields(shape)}
    return {k: v for k, v in dataclasses.asdict(regularizer).items() if k in theirs}


def _popularity_bias_I(train: csr_array) -> torch.Tensor:
    counts_I = np.bincount(train.indices, minlength=train.shape[1])
    return torch.from_numpy(BIAS_OF_THE_MOST_POPULAR * counts_I / counts_I.max()).float()

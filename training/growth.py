"""A model with more items than it was trained on: what it lacks of them is predicted.

Every table of a model that has a row an item is regressed on the items' features: the item matrix
and the biases, the rows of the first layer (a history may name a new item), and of a full-rank
part the votes that an item gets and casts.
"""

import dataclasses
from collections.abc import Mapping
from typing import Final, final

import numpy as np
import torch
from scipy.sparse import csr_array, sparray, vstack
from torch import Tensor

from service.autoencoders.base import Autoencoder
from service.autoencoders.item_item import ItemItem
from service.checkpoint import build_model
from service.histories import HistoryBatch
from training.errors import BadInputError
from training.ridge import Dense, Ridge, RidgeFit

# New items whose votes are predicted at a time: 40 MB of float64 at 20,000 items.
VOTES_BLOCK: Final = 256


@final
class Growth:
    """Predicts rows of tables for N new items.

    Attributes:
        explained: By table, the share of variance between items that features explain, in
            cross-validation.
    """

    def __init__(self, ridge: Ridge, new_NF: csr_array) -> None:
        self.explained: dict[str, float] = {}
        self.num_new = new_NF.shape[0]
        self._ridge = ridge
        self._new_NF = new_NF

    def of_table(self, name: str, table_IH: Tensor) -> Tensor:
        """Append N predicted rows to a table with I rows."""
        known_IH = table_IH.detach().double().numpy()
        fit = self._fit(name, known_IH if known_IH.ndim > 1 else known_IH[:, None])
        predicted_NH = torch.from_numpy(fit.predict(self._new_NF)).to(table_IH.dtype)
        shape = (self.num_new, *table_IH.shape[1:])
        return torch.cat([table_IH.detach(), predicted_NH.reshape(shape)])

    def of_votes(self, name: str, matrix: ItemItem) -> ItemItem:
        """Append N columns, the votes that new items get, then N rows, those that they cast.

        A new item keeps as many of them as an item of the model has on average. New items vote
        for each other as similar items do.
        """
        votes_II = csr_array(
            (
                matrix.weight_M.double().numpy(),
                matrix.item_index_M.numpy(),
                matrix.offset_I1.numpy(),
            ),
            shape=(matrix.num_items, matrix.num_items),
        )
        per_item = max(1, round(votes_II.nnz / matrix.num_items))
        got = self._sparse(self._fit(f"{name}, votes got", votes_II.T.tocsr()), per_item)
        wide = csr_array(vstack([votes_II.T, got])).T.tocsr()
        cast = self._sparse(self._fit(f"{name}, votes cast", wide), per_item)
        grown = _without_own_votes(csr_array(vstack([wide, cast])), matrix.num_items)
        return ItemItem.of(
            torch.from_numpy(grown.indptr.astype(np.int64)),
            torch.from_numpy(grown.indices.astype(np.int32)),
            torch.from_numpy(grown.data.astype(np.float32)),
        )

    def _fit(self, name: str, target_IH: Dense | csr_array) -> RidgeFit:
        fit = self._ridge.fit(target_IH)
        self.explained[name] = fit.explained
        return fit

    def _sparse(self, fit: RidgeFit, per_item: int) -> sparray:
        blocks = []
        for start in range(0, self.num_new, VOTES_BLOCK):
            votes = fit.predict(self._new_NF[start : start + VOTES_BLOCK])
            kept = min(per_item, votes.shape[1])
            smallest = -np.partition(-np.abs(votes), kept - 1, axis=1)[:, kept - 1 : kept]
            blocks.append(csr_array(np.where(np.abs(votes) >= smallest, votes, 0)))
        return vstack(blocks)


def _without_own_votes(votes_II: csr_array, first_new: int) -> csr_array:
    """Take the diagonal of new items away: in a linear autoencoder nothing votes for itself."""
    entries = votes_II.tocoo()
    kept_M = (entries.row != entries.col) | (entries.row < first_new)
    places = (entries.row[kept_M], entries.col[kept_M])
    kept = csr_array((entries.data[kept_M], places), shape=votes_II.shape)
    kept.sort_indices()
    return kept


@torch.inference_mode()
def score_spread(model: Autoencoder, histories: HistoryBatch) -> float:
    """Standard deviation of scores between items, averaged over histories."""
    query_BH = model.queries(model.encode(histories))
    score_BI = (query_BH @ model.item_vectors_IH.T + model.item_bias_I).double()
    if model.linear is not None:
        score_BI += model.linear(histories)
    return float(score_BI.std(dim=1).mean())


def grown(model: Autoencoder, architecture: str, growth: Growth, lift: float = 0.0) -> Autoencoder:
    """Give a model that knows new items as well; the old ones keep all they had.

    Args:
        model: Frozen; it is left as it is.
        architecture: A key of ``ARCHITECTURES``.
        growth: Predicts what the new items have.
        lift: Added to the scores of the new items.

    Raises:
        BadInputError: The architecture cannot take new items, or a number would not be finite.
    """
    weights = dict(model.state_dict())
    config = model.config
    for key in [key for key, table in weights.items() if _is_item_table(key, table, model)]:
        weights[key] = growth.of_table(key, weights[key])
        if key.endswith("_I"):  # a number an item, and all of those are added to its score
            weights[key][model.num_items :] += lift
    for name, module in model.named_modules():
        if isinstance(module, ItemItem):
            votes = growth.of_votes(name, module)
            weights |= {f"{name}.{key}": part for key, part in votes.state_dict().items()}
            config = dataclasses.replace(config, num_weights=len(votes.weight_M))
    _refuse_infinite(weights)
    num_items = model.num_items + growth.num_new
    with torch.device("meta"):
        made = build_model(architecture, config, num_items, model.num_users)
    try:
        made.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise BadInputError(f"{architecture} cannot take new items: {error}") from error
    return made.freeze()


def _refuse_infinite(weights: Mapping[str, Tensor]) -> None:
    """Refuse what could be written and not be loaded again: float32 ends at 3.4e38."""
    for key, table in weights.items():
        if not bool(table.isfinite().all()):
            raise BadInputError(f"{key} would not be finite: choose a smaller lift")


def _is_item_table(key: str, table: Tensor, model: Autoencoder) -> bool:
    """Tell by the suffix of its name: ``weight_IH`` has a row an item, ``user_rows_UD`` has not."""
    suffix = key.rpartition("_")[2]
    return suffix.startswith("I") and suffix.isalpha() and len(table) == model.num_items

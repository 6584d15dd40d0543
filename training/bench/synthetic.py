"""A Mult-VAE that nobody trained, with the structure that training leaves; histories; a log.

Speed and certificates depend on what scores look like, and Gaussian matrices are the worst case:
all items lie equally far from all queries. What is drawn here follows trained Mult-VAEs instead:

- Items have ``NUM_TASTES`` factors whose weight falls as 1 / sqrt(rank), plus noise of every
  direction that holds about a third of the item matrix's squares (trained on ml-latest-small,
  the 64 largest of 600 singular values hold 64 % of them).
- Popularity falls as 1 / (rank + 10). Its logarithm, which saturates, goes into the item matrix,
  along one direction that all queries share, and into a small bias (correlation with mean scores
  .88; trained: .85).
- A history encodes to the mean of its items' factors, so the best items resemble the history's.
- Scores spread by ``SCORE_SPREAD`` between items (trained: 3.1). The 20th and the 36th best are
  .14 spreads apart, the 20th and the 125th .46 (trained, with 5,653 items: .09 and .36); without
  saturation it would be .43 and 1.5, and every certificate would hold at once.
"""

import math
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Generator, Tensor, nn

from service import checkpoint
from service.autoencoders.multvae import MultVAE, MultVAEConfig
from service.catalog import Catalog
from service.histories import History, HistoryBatch
from service.manifest import FORMAT_VERSION, Manifest
from training.export import draw_canaries

NUM_TASTES: Final = 64
NOISE_SHARE: Final = 0.34
SCORE_SPREAD: Final = 3.0
# Mean size of a trained query's entries, which tanh keeps below 1.
QUERY_SIZE: Final = 0.7
NUM_PROBES: Final = 64
PROBE_LENGTH: Final = 60
# Users like half of what they take for its taste, and half because everybody takes it.
TASTE_SHARE: Final = 0.5


@final
@dataclass(frozen=True, slots=True)
class Shape:
    """How large a synthetic model is.

    Attributes:
        items: I.
        hidden: H.
        latent: D.
    """

    items: int = 20_108
    hidden: int = 600
    latent: int = 200


def write_bundle(shape: Shape, model_dir: Path, seed: int) -> Path:
    """Write a synthetic bundle, complete enough to be served, and point ``CURRENT`` at it."""
    catalog = synthetic_catalog(shape.items, seed)
    model = synthetic_model(shape, catalog.popularity_I, seed).freeze()
    config = MultVAEConfig(shape.latent, (shape.hidden,))
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        name="synthetic",
        architecture="multvae",
        config=asdict(config),
        training={"seed": seed},
        data={"name": "synthetic"},
        metrics={},
        positive_threshold=None,
        num_items=shape.items,
        num_users=0,
        versions={},
        created_at=datetime.now(UTC),
        files={},
    )
    files = checkpoint.bundle_files(model, catalog, (), draw_canaries(model, seed))
    return checkpoint.save(manifest, files, model_dir)


def synthetic_catalog(num_items: int, seed: int) -> Catalog:
    """Name items ``i0`` and so on; popularity falls as 1 / (rank + 10), ranks in random order."""
    rank_I = np.random.default_rng(seed).permutation(num_items)
    return Catalog(
        item_ids=tuple(f"i{index}" for index in range(num_items)),
        titles=("",) * num_items,
        categories=((),) * num_items,
        popularity_I=(100_000 / (rank_I + 10)).astype(np.int64) + 1,
    )


def synthetic_model(shape: Shape, popularity_I: NDArray[np.int64], seed: int) -> MultVAE:
    """Draw a Mult-VAE as the head of this file says."""
    generator = torch.Generator().manual_seed(seed)
    num_tastes = min(NUM_TASTES, shape.latent, shape.hidden)
    weight_T = torch.arange(1, num_tastes + 1).float().rsqrt()
    factor_IT = torch.randn(shape.items, num_tastes, generator=generator) * weight_T
    into_TH, code_HD, out_DH = (
        _orthogonal(rows, columns, generator)
        for rows, columns in (
            (num_tastes, shape.hidden),
            (shape.hidden, shape.latent),
            (shape.latent, shape.hidden),
        )
    )
    shared_H = torch.randn(shape.hidden, generator=generator)
    fame_I = torch.from_numpy(np.log(popularity_I)).float()
    fame_I = torch.tanh((fame_I - fame_I.mean()) / fame_I.std())
    model = MultVAE(MultVAEConfig(shape.latent, (shape.hidden,)), shape.items)
    with torch.no_grad():
        torch.mm(factor_IT, into_TH, out=model.input.weight_IH.detach())
        model.posterior.weight.zero_()[: shape.latent] = code_HD.T
        last = _linear(model.decoder)[0]
        last.weight.copy_(out_DH.T)
        last.bias.copy_(shared_H)
        # In place: of a million items each copy would be 2.4 GB.
        item_IH = model.item_vectors_IH.detach()
        torch.mm(factor_IT, into_TH @ code_HD @ out_DH, out=item_IH)
        item_IH.div_(item_IH.std()).addr_(fame_I, shared_H, alpha=0.5)
        noise_IH = torch.randn(item_IH.shape, generator=generator)
        noise = float(item_IH.std()) * math.sqrt(NOISE_SHARE / (1 - NOISE_SHARE))
        item_IH.add_(noise_IH, alpha=noise)
        model.item_bias_I.copy_(0.03 * fame_I)
        _calibrate(model, popularity_I, seed)
    return model


def histories(
    popularity_I: NDArray[np.int64], num_users: int, length: int, generator: np.random.Generator
) -> list[History]:
    """Draw what users have, each item once, by popularity; ``length`` items or all there are."""
    chance_I = popularity_I / popularity_I.sum()
    size = min(length, int(np.count_nonzero(popularity_I)))
    return [
        History.of(generator.choice(len(chance_I), size, replace=False, p=chance_I))
        for _ in range(num_users)
    ]


def synthetic_log(
    popularity_I: NDArray[np.int64],
    num_users: int,
    generator: np.random.Generator,
    length: int = 35,
) -> csr_array:
    """Draw a log to train on: lengths log-normal around one, half by taste, half by popularity.

    Returns:
        float32 [U, I] of ones; rows sorted, each item once, 5 (or ``length``, where that is less)
        to a quarter of all items a row.
    """
    num_items = len(popularity_I)
    longest = max(5, min(1000, num_items // 4))
    drawn_U = generator.lognormal(math.log(length), 0.9, num_users)
    length_U = np.clip(drawn_U, min(5, length), longest).astype(int)
    user_N = np.repeat(np.arange(num_users), length_U)
    total_I = np.cumsum(popularity_I) / popularity_I.sum()
    item_N = np.searchsorted(total_I, generator.random(len(user_N)), side="right")
    num_tastes = min(NUM_TASTES, num_items)
    taste_N = generator.integers(num_tastes, size=num_users)[user_N]
    by_taste_N = generator.random(len(user_N)) < TASTE_SHARE
    near_N = item_N - item_N % num_tastes + taste_N  # as popular as the drawn one, by no means
    item_N = np.where(by_taste_N, near_N, item_N).clip(max=num_items - 1)
    rows = csr_array((np.ones(len(user_N), np.float32), (user_N, item_N)), (num_users, num_items))
    rows.sum_duplicates()
    rows.data[:] = 1
    rows.sort_indices()
    return rows


def _calibrate(model: MultVAE, popularity_I: NDArray[np.int64], seed: int) -> None:
    """Scale queries, then scores, to the size that they have in trained models."""
    drawn = histories(popularity_I, NUM_PROBES, PROBE_LENGTH, np.random.default_rng(seed))
    batch = HistoryBatch.from_rows(drawn)
    layer = _linear(model.decoder)[0]
    code_BD = model.encode(batch)
    taste_BH = code_BD @ layer.weight.T
    # Before tanh: as much of what is a user's own as of what all share, 0.87 being atanh(0.7).
    size = math.atanh(QUERY_SIZE)
    layer.weight.mul_(size / taste_BH.std())
    layer.bias.mul_(size)
    score_BI = model.queries(code_BD) @ model.item_vectors_IH.T
    model.item_vectors_IH.mul_(SCORE_SPREAD / score_BI.std(dim=1).mean())


def _orthogonal(rows: int, columns: int, generator: Generator) -> Tensor:
    return nn.init.orthogonal_(torch.empty(rows, columns), generator=generator)


def _linear(stack: nn.Module) -> list[nn.Linear]:
    return [module for module in stack.modules() if isinstance(module, nn.Linear)]

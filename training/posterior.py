"""What a variational model says in each of its dimensions, told when training is over."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from service.autoencoders.base import Autoencoder
from service.autoencoders.variational import VariationalAutoencoder
from service.histories import UNKNOWN_USER, HistoryBatch

# Nats; a dimension below tells users apart no more than a constant would.
ACTIVE_KL: Final = 0.01
USERS_PER_BLOCK: Final = 500


def posterior_record(model: Autoencoder, rows: csr_array) -> dict[str, Any]:
    """Tell how much each dimension of the posterior is used.

    Args:
        model: Of any kind.
        rows: float32 [U, I], histories, not normalised: those of the training users.

    Returns:
        Nothing for a model without a posterior. Else ``kl_per_dimension``, a list of
        ``{"dimension": index, "kl": nats}`` with the greatest first, where ``kl`` is the mean KL
        from N(0, 1) over users (whatever the prior in training was); ``dimensions``, how many
        there are; and ``active_dimensions``, how many of them lie above ``ACTIVE_KL``.
    """
    if not isinstance(model, VariationalAutoencoder):
        return {}
    kl_D = _mean_kl(model, rows)
    order_D = np.argsort(-kl_D, kind="stable").tolist()
    return {
        "dimensions": len(order_D),
        "kl_per_dimension": [{"dimension": d, "kl": float(kl_D[d])} for d in order_D],
        "active_dimensions": int((kl_D > ACTIVE_KL).sum()),
    }


def active_kl(record: Mapping[str, Any]) -> str:
    """Write the dimensions in use on one line, each with its KL, the greatest first."""
    told = record["kl_per_dimension"][: record["active_dimensions"]]
    return ", ".join(f"{each['dimension']}: {each['kl']:.3f}" for each in told)


@torch.inference_mode()
def _mean_kl(model: VariationalAutoencoder, rows: csr_array) -> NDArray[np.float64]:
    num_users = rows.shape[0]
    total_D = torch.zeros(model.latent_dim, dtype=torch.float64)
    for start in range(0, num_users, USERS_PER_BLOCK):
        block = rows[start : start + USERS_PER_BLOCK]
        unknown_B = np.full(block.shape[0], UNKNOWN_USER)
        histories = HistoryBatch.from_csr(block.indptr, block.indices, block.data, unknown_B)
        kl_D = model.kl_per_dimension(histories.to(model.item_bias_I.device))
        total_D += len(histories) * kl_D.double().cpu()
    return (total_D / num_users).numpy()

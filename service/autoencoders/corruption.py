"""What denoising autoencoders do to a history before they have to restore it.

Every kind works on the entries of the sparse batch: none makes a dense row.
"""

from functools import partial
from typing import Literal

import torch
from torch import Generator

from service.autoencoders.layers import dropped
from service.autoencoders.noise import entry_noise
from service.histories import HistoryBatch

Noise = Literal["masking", "gaussian", "salt_and_pepper"]


def corrupted(
    histories: HistoryBatch,
    noise: Noise,
    corruption: float,
    num_items: int,
    generator: Generator,
) -> HistoryBatch:
    """Spoil a batch of histories; a corruption of 0 leaves them as they are.

    Args:
        histories: Observed entries with their own weights, not yet normalised.
        noise: ``masking`` loses entries and scales the others up; ``gaussian`` shakes weights;
            ``salt_and_pepper`` loses entries and puts false ones in their place.
        corruption: Share of lost entries, or standard deviation relative to a weight.
        num_items: I; false entries are drawn from all items alike.
        generator: The only source of chance.
    """
    if corruption == 0:
        return histories
    if noise == "masking":
        return dropped(histories, corruption, generator)
    if noise == "gaussian":
        return _shaken(histories, corruption, generator)
    return _salted(histories, corruption, num_items, generator)


def _shaken(histories: HistoryBatch, deviation: float, generator: Generator) -> HistoryBatch:
    """Multiply each observed weight by 1 + deviation * N(0, 1); absent items stay absent.

    Noise on all I items, as on the pixels of an image, would make every row dense: I numbers a
    user instead of a hundred, and nearly all of them noise. On a binary history this is plain
    additive noise; relative to the weight it means the same at any scale of weights.
    """
    noise_N = entry_noise(torch.randn, len(histories.weight_N), generator)
    return histories.with_weights(histories.weight_N * (1 + deviation * noise_N))


def _salted(
    histories: HistoryBatch, rate: float, num_items: int, generator: Generator
) -> HistoryBatch:
    """Take a share of each user's entries away and add as many items that the user has not.

    A false entry weighs as much as the user's average one. One that falls on an item of the
    user's or on another false one is lost, so that at most as many come as go.
    """
    row_N = histories.row_N
    chance_N = entry_noise(torch.rand, len(row_N), generator)
    kept_N = chance_N >= rate
    # One for each entry, also for those that stay: how many go is known of one's own rows alone.
    salt_item_N = entry_noise(partial(torch.randint, num_items), len(row_N), generator)
    salt_row_S, salt_item_S = row_N[~kept_N], salt_item_N[~kept_N]
    # Row and item as one number: ascending keys are a batch in its canonical order.
    key_N = row_N * num_items + histories.item_index_N
    salt_S = torch.unique(salt_row_S * num_items + salt_item_S)
    salt_S = salt_S[~torch.isin(salt_S, key_N)]
    mean_B = histories.sum_per_row(histories.weight_N) / histories.length_B.clamp(min=1)
    key_N, order_N = torch.cat((key_N[kept_N], salt_S)).sort()
    weight_N = torch.cat((histories.weight_N[kept_N], mean_B[salt_S // num_items]))[order_N]
    starts_B1 = torch.arange(len(histories) + 1, device=key_N.device) * num_items
    return HistoryBatch(
        item_index_N=key_N % num_items,
        weight_N=weight_N,
        offset_B1=torch.searchsorted(key_N, starts_B1),
        user_index_B=histories.user_index_B,
    )

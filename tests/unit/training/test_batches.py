"""Every process has its own users of a batch, and all of them together have the batch."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from training.batches import Batch, Batches
from training.distributed import World

CPU = torch.device("cpu")


def rows_of(num_users: int, seed: int) -> csr_array:
    generator = np.random.default_rng(seed)
    return csr_array((generator.random((num_users, 12)) < 0.3).astype(np.float32))


def passed(rows: csr_array, world: World, size: int, seed: int) -> list[Batch]:
    batches = Batches(rows, world.shard(rows.shape[0]), size, CPU)
    return list(batches.drawn(torch.Generator().manual_seed(seed)))


@given(
    num_users=st.integers(1, 40),
    size=st.integers(1, 15),
    processes=st.integers(1, 5),
    seed=st.integers(0, 2**31),
)
def test_the_parts_of_all_processes_are_the_batches_of_one(
    num_users: int, size: int, processes: int, seed: int
) -> None:
    rows = rows_of(num_users, seed)
    whole = passed(rows, World.alone(), size, seed)
    parts = [passed(rows, World(rank, processes), size, seed) for rank in range(processes)]
    assert sorted(u for batch in whole for u in batch.histories.user_index_B.tolist()) == list(
        range(num_users)
    )
    for number, batch in enumerate(whole):
        own = [part[number] for part in parts if part[number].counts]
        users_B = torch.cat([each.histories.user_index_B for each in own])
        item_N = torch.cat([each.histories.item_index_N for each in own])
        assert torch.equal(users_B, batch.histories.user_index_B)
        assert torch.equal(item_N, batch.histories.item_index_N)
        shares = sum(each.share * len(each.histories) for each in own)
        assert shares == pytest.approx(1)
        for each in own:
            assert users_B[each.rows.start : each.rows.stop].equal(each.histories.user_index_B)
            assert item_N[each.entries.start : each.entries.stop].equal(each.histories.item_index_N)
            assert (each.rows.whole, each.entries.whole) == (len(users_B), len(item_N))


def test_a_process_reads_its_own_users_alone() -> None:
    rows = rows_of(40, 1)
    for batch in passed(rows, World(1, 4), 8, seed=2):
        if batch.counts:
            assert set(batch.histories.user_index_B.tolist()) <= set(range(10, 20))


def test_a_row_stands_in_where_a_process_has_none_and_does_not_count() -> None:
    rows = rows_of(2, 1)
    batches = passed(rows, World(0, 2), 1, seed=0)  # each batch is one user, of one process
    assert sorted(batch.share for batch in batches) == [0, 1]
    assert all(len(batch.histories) == 1 for batch in batches)

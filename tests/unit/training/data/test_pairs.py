import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data import pairs
from training.data.pairs import items_in_place, items_of, paired, row_blocks, sort_pairs, users_of

PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4)), min_size=1, max_size=50)


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))))
def test_a_pair_can_be_taken_apart(both: list[tuple[int, int]]) -> None:
    pair_N = paired(*(np.array([two[n] for two in both], dtype=np.uint32) for n in (0, 1)))
    assert list(zip(users_of(pair_N).tolist(), items_of(pair_N).tolist(), strict=True)) == both


@given(st.lists(st.integers(0, 2**64 - 1)), st.integers(1, 60))
def test_items_can_take_the_place_of_their_pairs(pairs_: list[int], block_rows: int) -> None:
    pair_N = np.array(pairs_, dtype=np.uint64)
    expected = items_of(pair_N).view(np.int32).tolist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "BLOCK_ROWS", block_rows)
        assert items_in_place(pair_N).tolist() == expected
    assert len(pair_N) == (len(pairs_) + 1) // 2


@given(PAIRS, st.sampled_from([64, 4]), st.integers(0, 99), st.integers(1, 60))
def test_pairs_sort_by_the_new_codes_and_equal_ones_keep_their_order(
    both: list[tuple[int, int]], key_bits: int, seed: int, block_rows: int
) -> None:
    # In 4 bits there is no room for the row: the other way of sorting, to the same end.
    generator = np.random.default_rng(seed)
    user_rank_U, item_rank_I = (generator.permutation(n).astype(np.uint32) for n in (7, 5))
    pair_N = paired(*(np.array([two[n] for two in both], dtype=np.uint32) for n in (0, 1)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "BLOCK_ROWS", block_rows)
        order_N = sort_pairs(pair_N, user_rank_U, item_rank_I, key_bits)
    renamed = [(int(user_rank_U[user]), int(item_rank_I[item])) for user, item in both]
    expected = sorted(range(len(both)), key=renamed.__getitem__)
    assert order_N.tolist() == expected
    assert users_of(pair_N).tolist() == [renamed[place][0] for place in expected]
    assert items_of(pair_N).tolist() == [renamed[place][1] for place in expected]


def test_the_largest_codes_and_the_last_row_have_just_room_in_one_number() -> None:
    # 2^10 users, 2^8 items and 8 rows take 11, 9 and 4 bits; with one bit less they have none.
    user_rank_U, item_rank_I = (np.arange(n, dtype=np.uint32) for n in (1 << 10, 1 << 8))
    pair_N = paired(np.full(8, 1023, np.uint32), np.full(8, 255, np.uint32))
    for key_bits in (11 + 9 + 4, 11 + 9 + 3):
        again_N = pair_N.copy()
        assert sort_pairs(again_N, user_rank_U, item_rank_I, key_bits).tolist() == list(range(8))
        assert again_N.tolist() == pair_N.tolist()


def test_blocks_cover_all_rows_once() -> None:
    blocks = list(row_blocks(2 * pairs.BLOCK_ROWS + 1))
    assert [(block.start, block.stop) for block in blocks] == [
        (0, pairs.BLOCK_ROWS),
        (pairs.BLOCK_ROWS, 2 * pairs.BLOCK_ROWS),
        (2 * pairs.BLOCK_ROWS, 2 * pairs.BLOCK_ROWS + 1),
    ]

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from training.data.assembly import log_of
from training.data.interactions import InteractionLog
from training.data.split import HeldOut, Protocol, Split, SplitOptions, make_split
from training.errors import BadInputError

Pairs = set[tuple[str, str]]
PROTOCOLS: tuple[Protocol, ...] = ("strong", "weak", "time")
USERS = 40


def log_with(**columns: list[str] | list[float]) -> InteractionLog:
    return log_of(pl.DataFrame(columns))


def random_log(seed: int) -> InteractionLog:
    generator = np.random.default_rng(seed)
    taken_UI = generator.random((USERS, 30)) < generator.random(30)
    user_N, item_N = taken_UI.nonzero()
    frame = pl.DataFrame(
        {
            "user_id": [f"u{user}" for user in user_N],
            "item_id": [str(item) for item in item_N],
            "weight": generator.integers(1, 9, len(user_N)).astype(float),
            "timestamp": generator.integers(0, 50, len(user_N)),
        }
    )
    return log_of(frame)


def split_or_skip(log: InteractionLog, options: SplitOptions) -> Split:
    try:
        return make_split(log, options)
    except BadInputError:
        assume(condition=False)
        raise


def pairs_of(matrix: csr_array, user_ids: tuple[str, ...], item_ids: tuple[str, ...]) -> Pairs:
    row_N, column_N = matrix.nonzero()
    return {(user_ids[row], item_ids[column]) for row, column in zip(row_N, column_N, strict=True)}


def history_of(split: Split, held_out: HeldOut) -> Pairs:
    return pairs_of(held_out.history, held_out.user_ids, split.item_ids)


def target_of(split: Split, held_out: HeldOut) -> Pairs:
    return pairs_of(held_out.target, held_out.user_ids, split.item_ids)


def train_of(split: Split) -> Pairs:
    return pairs_of(split.train, split.user_ids, split.item_ids)


def pairs_in(frame: pl.DataFrame) -> Pairs:
    return set(frame.select("user_id", "item_id").rows())


def matrices_of(split: Split) -> list[csr_array]:
    held_out = (split.valid, split.test)
    return [split.train, *(half.history for half in held_out), *(half.target for half in held_out)]


def lengths(matrix: csr_array) -> list[int]:
    return [int(length) for length in np.diff(matrix.indptr)]


def shared_and_private(num_shared: list[int], num_private: int) -> InteractionLog:
    """Users with some items that all have, and some that nobody else has."""
    pairs = [
        (f"u{user:02}", item)
        for user, shared in enumerate(num_shared)
        for item in [
            *(f"shared{number}" for number in range(shared)),
            *(f"only-u{user:02}-{number}" for number in range(num_private)),
        ]
    ]
    return log_of(pl.DataFrame(pairs, schema=["user_id", "item_id"], orient="row"))


# --- laws -------------------------------------------------------------------------------------


@given(st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_strong_covers_every_known_event_of_every_kept_user_once(seed: int) -> None:
    log = random_log(seed)
    split = split_or_skip(log, SplitOptions())
    parts = [
        train_of(split),
        *(
            part(split, half)
            for half in (split.valid, split.test)
            for part in (history_of, target_of)
        ),
    ]
    kept = log.frame.filter(pl.len().over("user_id") >= 5)
    expected = pairs_in(kept.filter(pl.col("item_id").is_in(split.item_ids)))
    assert sum(len(part) for part in parts) == len(expected)
    assert set().union(*parts) == expected


@given(st.integers(0, 10**6), st.sampled_from(["weak", "time"]))
@settings(max_examples=25, deadline=None)
def test_weak_and_time_cover_every_known_event_of_training_users_once(
    seed: int, protocol: Protocol
) -> None:
    log = random_log(seed)
    split = split_or_skip(log, SplitOptions(protocol=protocol))
    parts = [train_of(split), target_of(split, split.valid), target_of(split, split.test)]
    kept = log.frame.filter(
        pl.col("user_id").is_in(split.user_ids) & pl.col("item_id").is_in(split.item_ids)
    )
    assert sum(len(part) for part in parts) == kept.height
    assert set().union(*parts) == pairs_in(kept)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_the_vocabulary_is_what_training_users_have(seed: int, protocol: Protocol) -> None:
    split = split_or_skip(random_log(seed), SplitOptions(protocol=protocol))
    assert {item for _, item in train_of(split)} == set(split.item_ids)
    assert list(split.item_ids) == sorted(split.item_ids, key=int)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_the_order_of_the_rows_changes_nothing(seed: int, protocol: Protocol) -> None:
    log = random_log(seed)
    options = SplitOptions(protocol=protocol)
    split = split_or_skip(log, options)
    shuffled = make_split(log_of(log.frame.sample(fraction=1, shuffle=True, seed=seed)), options)
    assert (shuffled.user_ids, shuffled.item_ids) == (split.user_ids, split.item_ids)
    for one, other in zip(matrices_of(split), matrices_of(shuffled), strict=True):
        assert np.array_equal(one.indptr, other.indptr)
        assert np.array_equal(one.indices, other.indices)
        assert np.array_equal(one.data, other.data)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_matrices_are_canonical_float32_and_carry_the_weights(
    seed: int, protocol: Protocol
) -> None:
    log = random_log(seed)
    split = split_or_skip(log, SplitOptions(protocol=protocol))
    for matrix in matrices_of(split):
        assert matrix.dtype == np.float32
        assert matrix.has_canonical_format
        assert matrix.shape[1] == len(split.item_ids)
    weight_of = {row[:2]: row[2] for row in log.frame.select("user_id", "item_id", "weight").rows()}
    train = split.train.toarray()
    for user, user_id in enumerate(split.user_ids):
        for item, item_id in enumerate(split.item_ids):
            if train[user, item]:
                assert train[user, item] == weight_of[user_id, item_id]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_nothing_that_is_asked_for_is_shown(seed: int, protocol: Protocol) -> None:
    split = split_or_skip(random_log(seed), SplitOptions(protocol=protocol))
    for half in (split.valid, split.test):
        assert not history_of(split, half) & target_of(split, half)
        assert not train_of(split) & target_of(split, half)


# --- strong: the order of operations ------------------------------------------------------------


def test_held_out_users_are_a_tenth_and_a_tenth_and_never_trained_on() -> None:
    split = make_split(shared_and_private([6] * 39, 0), SplitOptions())
    assert (len(split.user_ids), len(split.valid.user_ids), len(split.test.user_ids)) == (33, 3, 3)
    sides = [set(split.user_ids), set(split.valid.user_ids), set(split.test.user_ids)]
    assert len(set().union(*sides)) == 39
    for half in (split.valid, split.test):
        assert half.user_index_U.tolist() == [-1, -1, -1]
        assert half.user_index_U.dtype == np.int64


def test_users_with_few_items_go_before_users_are_drawn() -> None:
    # A tenth of 30 users is 3; of all 60 it would be 6.
    split = make_split(shared_and_private([6, 4] * 30, 0), SplitOptions())
    assert (len(split.user_ids), len(split.valid.user_ids)) == (24, 3)


def test_unknown_items_go_before_the_target_is_drawn() -> None:
    # 5 items that all have and 10 that nobody else has: a fifth of the 5 known ones is 1. Drawn
    # before, a target would be 3 of 15, most of them unknown.
    split = make_split(shared_and_private([5] * USERS, 10), SplitOptions())
    for half in (split.valid, split.test):
        assert lengths(half.history) == [4, 4, 4, 4]
        assert lengths(half.target) == [1, 1, 1, 1]


def test_users_with_few_items_are_not_looked_for_again_after_unknown_items_went() -> None:
    # Three known items left of 13: no target, yet the row stays, and is counted.
    split = make_split(shared_and_private([5, 3] * 100, 10), SplitOptions())
    for half in (split.valid, split.test):
        is_even = [int(user_id[1:]) % 2 == 0 for user_id in half.user_ids]
        assert len(half.user_ids) == 20
        assert 0 < sum(is_even) < 20
        assert lengths(half.history) == [4 if even else 3 for even in is_even]
        assert lengths(half.target) == [1 if even else 0 for even in is_even]
        assert half.num_without_target == 20 - sum(is_even)


def test_a_held_out_user_of_unknown_items_alone_keeps_an_empty_row() -> None:
    split = make_split(shared_and_private([5, 0] * 100, 10), SplitOptions())
    empty = lengths(split.valid.history).count(0)
    assert len(split.valid.user_ids) == 20
    assert 0 < empty == split.valid.num_without_target < 20


@pytest.mark.parametrize(("num_items", "num_targets"), [(5, 1), (9, 1), (10, 2), (14, 2), (15, 3)])
def test_a_fifth_of_the_items_is_asked_for_rounded_down(num_items: int, num_targets: int) -> None:
    split = make_split(shared_and_private([num_items] * 30, 0), SplitOptions())
    assert lengths(split.test.target) == [num_targets] * 3


@pytest.mark.parametrize(("num_known", "num_targets"), [(3, 0), (4, 0), (5, 2), (6, 3)])
def test_whoever_has_fewer_than_five_known_items_is_asked_for_none(
    num_known: int, num_targets: int
) -> None:
    log = shared_and_private([num_known, 8] * 100, 10)
    split = make_split(log, SplitOptions(target_fraction=0.5))
    small = [int(user_id[1:]) % 2 == 0 for user_id in split.valid.user_ids]
    assert 0 < sum(small) < 20
    assert lengths(split.valid.target) == [num_targets if is_small else 4 for is_small in small]


def test_targets_differ_between_users_and_seeds() -> None:
    log = shared_and_private([20] * 200, 0)
    split = make_split(log, SplitOptions(seed=1))
    assert len({tuple(row) for row in split.valid.target.toarray()}) > 10
    other = make_split(log, SplitOptions(seed=2))
    assert other.valid.user_ids != split.valid.user_ids
    assert make_split(log, SplitOptions(seed=1)).valid.user_ids == split.valid.user_ids


# --- weak and time ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_items", "parts"), [(5, (3, 1, 1)), (14, (12, 1, 1)), (15, (11, 2, 2)), (20, (16, 2, 2))]
)
def test_weak_holds_a_tenth_of_every_users_items_out(
    num_items: int, parts: tuple[int, int, int]
) -> None:
    split = make_split(shared_and_private([num_items] * 30, 0), SplitOptions(protocol="weak"))
    assert lengths(split.train) == [parts[0]] * 30
    assert lengths(split.valid.target) == [parts[1]] * 30
    assert lengths(split.test.target) == [parts[2]] * 30
    assert split.valid.user_index_U.tolist() == list(range(30))


def test_weak_shows_training_items_and_in_the_test_also_the_validation_items() -> None:
    split = make_split(random_log(3), SplitOptions(protocol="weak", min_user_items=10))
    assert history_of(split, split.valid) == train_of(split)
    assert history_of(split, split.test) == train_of(split) | target_of(split, split.valid)


def test_weak_drops_held_out_items_that_nobody_trains_on() -> None:
    split = make_split(shared_and_private([12] * 30, 8), SplitOptions(protocol="weak"))
    assert split.valid.target.nnz < 60
    assert split.valid.num_without_target == lengths(split.valid.target).count(0)


def timed(stamps: list[float]) -> InteractionLog:
    """Ten users who take turns with ten items."""
    count = len(stamps)
    return log_with(
        user_id=[str(number % 10) for number in range(count)],
        item_id=[str((number // 10 + number) % 10) for number in range(count)],
        timestamp=stamps,
    )


def test_time_cuts_all_events_at_two_moments() -> None:
    log = timed([float(n % 97) for n in range(100)])
    split = make_split(log, SplitOptions(protocol="time"))
    pairs_from = [
        pairs_in(log.frame.filter(pl.col("timestamp").is_between(start, stop, closed="left")))
        for start, stop in ((0, 77), (77, 87), (87, 99))
    ]
    assert train_of(split) == pairs_from[0]
    assert target_of(split, split.valid) == pairs_from[1]
    assert target_of(split, split.test) == pairs_from[2]


def test_time_keeps_events_of_one_moment_together() -> None:
    split = make_split(
        timed([*range(60), *[60] * 25, *range(61, 76)]), SplitOptions(protocol="time")
    )
    assert split.train.nnz == 60
    assert split.valid.target.nnz == 30
    assert split.test.target.nnz == 10


def test_time_leaves_out_who_came_after_the_cut_and_points_to_training_rows() -> None:
    log = timed([float(n) for n in range(100)])
    late = log_with(user_id=["late"] * 5, item_id=list("01234"), timestamp=[95.0] * 5)
    early = log_with(user_id=["-1"] * 5, item_id=list("01234"), timestamp=[1.0] * 5)
    frame = pl.concat([log.frame, late.frame, early.frame])
    split = make_split(log_of(frame), SplitOptions(protocol="time"))
    assert "late" not in {*split.user_ids, *split.test.user_ids}
    assert "-1" in split.user_ids
    assert "-1" not in split.test.user_ids
    for half in (split.valid, split.test):
        assert [split.user_ids[row] for row in half.user_index_U] == list(half.user_ids)


def test_time_without_timestamps_is_refused() -> None:
    with pytest.raises(BadInputError) as refusal:
        make_split(shared_and_private([6] * 30, 0), SplitOptions(protocol="time"))
    assert str(refusal.value) == (
        "the time protocol needs timestamps; name their column with --columns timestamp=NAME"
    )


# --- given --------------------------------------------------------------------------------------

STRONG_ROWS = [
    ("a", "1", "train"),
    ("a", "10", "train"),
    ("b", "9", "train"),
    ("v", "9", "valid_history"),
    ("v", "77", "valid_history"),
    ("v", "1", "valid_target"),
    ("w", "1", "valid_history"),
    ("t", "10", "test_history"),
    ("t", "1", "test_target"),
    ("t", "77", "test_target"),
]
WEAK_ROWS = [
    ("a", "1", "train"),
    ("a", "2", "train"),
    ("b", "3", "train"),
    ("a", "3", "valid"),
    ("b", "2", "test"),
    ("b", "77", "test"),
    ("new", "1", "test"),
]


def given_split(rows: list[tuple[str, str, str]]) -> Split:
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "split"], orient="row")
    return make_split(log_of(frame), SplitOptions(protocol="time"))


def test_a_strong_split_column_is_taken_as_it_is() -> None:
    split = given_split(STRONG_ROWS)
    assert split.protocol == "given-strong"
    assert (split.user_ids, split.item_ids) == (("a", "b"), ("1", "9", "10"))
    assert split.train.toarray().tolist() == [[1, 0, 1], [0, 1, 0]]
    assert split.valid.user_ids == ("v", "w")
    assert split.valid.history.toarray().tolist() == [[0, 1, 0], [1, 0, 0]]
    assert split.valid.target.toarray().tolist() == [[1, 0, 0], [0, 0, 0]]
    assert split.valid.num_without_target == 1
    assert split.test.user_ids == ("t",)
    assert split.test.target.toarray().tolist() == [[1, 0, 0]]
    assert split.test.user_index_U.tolist() == [-1]


def test_a_weak_split_column_is_taken_as_it_is() -> None:
    split = given_split(WEAK_ROWS)
    assert split.protocol == "given-weak"
    assert (split.user_ids, split.item_ids) == (("a", "b"), ("1", "2", "3"))
    assert split.valid.user_ids == ("a",)
    assert split.valid.target.toarray().tolist() == [[0, 0, 1]]
    assert split.test.user_ids == ("b",)
    assert split.test.history.toarray().tolist() == [[0, 0, 1]]
    assert split.test.target.toarray().tolist() == [[0, 1, 0]]
    assert split.test.user_index_U.tolist() == [1]


def test_a_weak_split_column_without_validation_gives_a_tenth_of_training_to_it() -> None:
    # Each of 12 users has 10 of 12 items in training and another one in the test.
    rows = [
        (f"u{user}", str((user + place) % 12), "train" if place < 10 else "test")
        for user in range(12)
        for place in range(11)
    ]
    split = given_split(rows)
    assert lengths(split.train) == [9] * 12
    assert lengths(split.valid.target) == [1] * 12
    assert lengths(split.test.history) == [10] * 12
    assert not train_of(split) & target_of(split, split.valid)


@pytest.mark.parametrize("part", ["train", "valid_history", "valid_target", "test_target"])
def test_a_strong_split_column_needs_all_parts(part: str) -> None:
    with pytest.raises(BadInputError) as refusal:
        given_split([row for row in STRONG_ROWS if row[2] != part])
    assert str(refusal.value) == f"column 'split': no row says '{part}'; add such rows"


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_weak_split_column_needs_training_and_test(part: str) -> None:
    with pytest.raises(BadInputError, match=f"no row says '{part}'"):
        given_split([row for row in WEAK_ROWS if row[2] != part])


@pytest.mark.parametrize("part", ["train", "test_target"])
def test_a_user_on_two_sides_of_a_strong_split_is_refused(part: str) -> None:
    with pytest.raises(BadInputError) as refusal:
        given_split([*STRONG_ROWS, ("w", "9", part)])
    named = ", ".join(sorted(["valid_history", part]))
    assert str(refusal.value) == (
        f"column 'split': user 'w' has rows that say {named}; a held-out user has none in training "
        "(else name the parts train, valid and test)"
    )


# --- too little ---------------------------------------------------------------------------------


def test_a_log_in_which_nobody_has_enough_items_is_refused() -> None:
    with pytest.raises(BadInputError) as refusal:
        make_split(shared_and_private([4] * 30, 0), SplitOptions())
    assert str(refusal.value) == "no user has 5 positive interactions; use more data"


def test_too_few_users_to_hold_any_out_are_refused() -> None:
    with pytest.raises(BadInputError) as refusal:
        make_split(shared_and_private([6] * 9, 0), SplitOptions())
    assert str(refusal.value) == (
        "9 users are too few to hold 10% of them out; use more data or the weak protocol"
    )


def test_held_out_users_with_no_target_among_them_are_refused() -> None:
    with pytest.raises(BadInputError) as refusal:
        make_split(shared_and_private([4] * 30, 6), SplitOptions())
    assert str(refusal.value) == (
        "nothing to measure in the validation part of the strong split: no held-out user has an "
        "item left that training users have; use more data or another protocol"
    )


def test_a_log_of_one_moment_cannot_be_cut_by_time() -> None:
    with pytest.raises(
        BadInputError, match="nothing to measure in the validation part of the time"
    ):
        make_split(timed([7.0] * 100), SplitOptions(protocol="time"))

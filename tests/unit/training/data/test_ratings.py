"""The split of ratings: a share of all of them, each in one part, strays counted."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.assembly import log_of
from training.data.interactions import InteractionLog
from training.data.ratings import Ratings, rating_split
from training.data.split import HeldOut, Split, SplitOptions
from training.errors import BadInputError

Triples = set[tuple[str, str, float]]


def random_log(seed: int, num_ratings: int = 400) -> InteractionLog:
    generator = np.random.default_rng(seed)
    pair_N = generator.choice(40 * 30, num_ratings, replace=False)
    return log_of(
        pl.DataFrame(
            {
                "user_id": [f"u{pair // 30}" for pair in pair_N],
                "item_id": [str(pair % 30) for pair in pair_N],
                "rating": generator.integers(-2, 4, num_ratings).astype(float),
                "timestamp": generator.integers(0, 1000, num_ratings),
            }
        )
    )


def triples_of(split: Split, held_out: HeldOut) -> Triples:
    entries = held_out.target.tocoo()
    return {
        (held_out.user_ids[row], split.item_ids[column], float(rating))
        for row, column, rating in zip(entries.row, entries.col, entries.data, strict=True)
    }


def train_of(split: Split) -> Triples:
    entries = split.train.tocoo()
    return {
        (split.user_ids[row], split.item_ids[column], float(rating))
        for row, column, rating in zip(entries.row, entries.col, entries.data, strict=True)
    }


def all_of(log: InteractionLog) -> Triples:
    return set(log.frame.select("user_id", "item_id", "rating").iter_rows())


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), split_seed=st.integers(0, 2**32))
def test_every_rating_is_in_one_part_or_a_stray(seed: int, split_seed: int) -> None:
    log = random_log(seed)
    split, ratings = rating_split(log, SplitOptions(seed=split_seed))
    train, valid, test = (
        train_of(split),
        triples_of(split, split.valid),
        triples_of(split, split.test),
    )
    assert len(train) == split.train.nnz == 400 - 40 - 36
    assert len(valid) + len(ratings.strays["valid"]) == 36
    assert len(test) + len(ratings.strays["test"]) == 40
    assert len(train | valid | test) == len(train) + len(valid) + len(test)
    assert train | valid | test <= all_of(log)


def test_a_rating_of_zero_is_a_rating() -> None:
    log = random_log(1)
    split, _ = rating_split(log, SplitOptions())
    assert (split.train.data == 0).sum() > 10
    assert sum(rating == 0 for *_, rating in train_of(split)) > 10


def test_the_split_is_that_of_its_seed_whatever_the_order_of_the_rows() -> None:
    log = random_log(2)
    shuffled = log_of(log.frame.sample(fraction=1, shuffle=True, seed=0))
    first, second, other = (
        rating_split(rows, SplitOptions(seed=seed))[0]
        for rows, seed in ((log, 4), (shuffled, 4), (log, 5))
    )
    assert train_of(first) == train_of(second) != train_of(other)


def test_strays_are_ratings_of_users_or_items_that_training_lacks() -> None:
    frame = random_log(3).frame.with_columns(split=pl.lit("train"))
    more = pl.DataFrame(
        {
            "user_id": ["new", "u1", "u1", "u2", "new"],
            "item_id": ["1", "new", "odd", "new", "2"],
            "rating": [9.0, 8.0, 7.0, 6.0, 5.0],
            "timestamp": [0] * 5,
            "split": ["test", "test", "valid", "test", "valid"],
        }
    )
    known = frame.head(4).with_columns(split=pl.Series(["test", "test", "valid", "valid"]))
    log = log_of(pl.concat([known, frame.slice(4), more]))
    split, ratings = rating_split(log, SplitOptions())
    assert split.protocol == "given-ratings"
    assert sorted(ratings.strays["test"].tolist()) == [6, 8, 9]
    assert sorted(ratings.strays["valid"].tolist()) == [5, 7]
    assert ratings.strays["test"].dtype == np.float32
    assert (split.valid.target.nnz, split.test.target.nnz) == (2, 2)


def test_the_time_protocol_holds_the_latest_ratings_out() -> None:
    log = random_log(4)
    split, _ = rating_split(log, SplitOptions(protocol="time"))
    assert split.protocol == "time-ratings"
    time_of = {(user, item): time for user, item, _, time in log.frame.iter_rows()}
    last = max(time_of[user, item] for user, item, _ in train_of(split))
    first = min(time_of[user, item] for user, item, _ in triples_of(split, split.test))
    assert last < first


def test_the_scale_is_that_of_the_training_ratings() -> None:
    log = random_log(5)
    split, ratings = rating_split(log, SplitOptions())
    rating_N = split.train.data.astype(np.float64)
    scale = ratings.scale
    assert (scale.lowest, scale.highest) == (-2, 3)
    assert scale.mean == pytest.approx(rating_N.mean())
    assert scale.typical == pytest.approx(rating_N[rating_N >= rating_N.mean()].mean())
    assert isinstance(ratings, Ratings)


def rated(**columns: object) -> InteractionLog:
    return log_of(random_log(6).frame.with_columns(**columns))  # type: ignore[arg-type]  # expressions


@pytest.mark.parametrize(
    ("log", "options", "message"),
    [
        (log_of(random_log(6).frame.drop("rating")), {}, "--columns rating=NAME"),
        (rated(rating=pl.lit(4.0)), {}, "all ratings are 4: there is nothing to learn"),
        (rated(rating=pl.col("rating") * 1e9), {}, "bring them to a scale within -1,000,000"),
        (
            log_of(random_log(6).frame.drop("timestamp")),
            {"protocol": "time"},
            "needs timestamps",
        ),
        (
            rated(
                split=pl.when(pl.col("user_id") < "u2")
                .then(pl.lit("valid_target"))
                .when(pl.col("user_id") < "u3")
                .then(pl.lit("test_target"))
                .when(pl.col("user_id") == "u3")
                .then(pl.lit("test_history"))
                .when(pl.col("user_id") == "u4")
                .then(pl.lit("valid_history"))
                .otherwise(pl.lit("train"))
            ),
            {},
            "holds out users",
        ),
    ],
)
def test_a_log_that_gives_nothing_to_learn_is_refused(
    log: InteractionLog, options: dict[str, object], message: str
) -> None:
    with pytest.raises(BadInputError, match=message):
        rating_split(log, SplitOptions(**options))  # type: ignore[arg-type]  # one field a case

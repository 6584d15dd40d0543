from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import SettingsError
from service.split import Split

USERS = [f"user-{number}" for number in range(20_000)]
WEIGHTS = st.floats(0.01, 100, allow_nan=False)


def test_arms_are_read_in_their_order() -> None:
    split = Split.parse(" multvae = 90, recvae=10 ", "autumn")
    assert split == Split((("multvae", 90.0), ("recvae", 10.0)), "autumn")
    assert split.models == ("multvae", "recvae")
    assert (split.share("multvae"), split.share("recvae"), split.share("ease")) == (0.9, 0.1, 0)


def test_a_model_may_have_the_sign_of_equality_in_its_name() -> None:
    assert Split.parse("k=20=1").models == ("k=20",)


@pytest.mark.parametrize(
    "text", ["", "multvae", "=1", "a=0", "a=-1", "a=nan", "a=inf", "a=x", "a=1,a=2", "a=1,,b=2"]
)
def test_what_is_no_arm_is_named(text: str) -> None:
    with pytest.raises(SettingsError, match="no arm of a split"):
        Split.parse(text)


def test_each_arm_gets_its_share_of_users() -> None:
    split = Split.parse("a=70,b=20,c=10")
    counts = Counter(map(split.arm, USERS))
    for arm, share in ("a", 0.7), ("b", 0.2), ("c", 0.1):
        # Four standard deviations of a binomial of 20,000.
        assert abs(counts[arm] / len(USERS) - share) < 4 * (share * (1 - share) / len(USERS)) ** 0.5


def test_a_user_keeps_to_an_arm_and_another_name_deals_anew() -> None:
    split, other = Split.parse("a=1,b=1", "one"), Split.parse("a=1,b=1", "two")
    assert all(split.arm(user) == Split.parse("b=1,a=1", "one").arm(user) for user in USERS[:1000])
    same = sum(split.arm(user) == other.arm(user) for user in USERS)
    assert abs(same / len(USERS) - 0.5) < 0.015


@given(st.tuples(WEIGHTS, WEIGHTS, WEIGHTS), st.floats(1, 10), st.text())
def test_a_weight_that_grows_moves_users_into_its_arm_alone(
    weights: tuple[float, float, float], factor: float, user_id: str
) -> None:
    a, b, c = weights
    before = Split((("a", a), ("b", b), ("c", c))).arm(user_id)
    after = Split((("a", a), ("b", b * factor), ("c", c))).arm(user_id)
    assert after in {before, "b"}

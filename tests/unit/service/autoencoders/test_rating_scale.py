import pytest

from service.autoencoders.rating_scale import RatingScale

SCALE = RatingScale(lowest=-10, highest=10, mean=0.5, typical=6.25)


@pytest.mark.parametrize(
    ("posted", "read"), [(-3.5, -3.5), (0, 0), (10, 10), (1e300, 10), (-11, -10), (None, 6.25)]
)
def test_a_rating_is_read_within_its_scale_and_none_as_a_typical_one(
    posted: float | None, read: float
) -> None:
    assert SCALE.read(posted) == read

"""The map of items against a projection by the book, and what no catalogue can upset."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from service import item_map
from service.catalog import Catalog
from service.item_map import ItemMap

Floats = NDArray[np.float64]


def catalog_of(popularity_I: NDArray[np.int64]) -> Catalog:
    ids = tuple(str(index) for index in range(len(popularity_I)))
    return Catalog(ids, ("",) * len(ids), ((),) * len(ids), popularity_I)


def map_of(vectors_IH: Floats, popularity_I: NDArray[np.int64] | None = None) -> ItemMap:
    if popularity_I is None:
        popularity_I = np.arange(len(vectors_IH))
    return ItemMap(torch.from_numpy(vectors_IH).float(), catalog_of(popularity_I))


def by_the_book(vectors_IH: Floats, weight_I: Floats) -> tuple[Floats, Floats]:
    """Give places and shares by a singular value decomposition of the whole matrix."""
    vectors_IH = vectors_IH.astype(np.float32).astype(np.float64)
    unit_IH = vectors_IH / np.linalg.norm(vectors_IH, axis=1, keepdims=True)
    share_I = weight_I / weight_I.sum()
    centred_IH = unit_IH - share_I @ unit_IH
    _, spread_H, axes_HH = np.linalg.svd(centred_IH * np.sqrt(share_I)[:, None])
    shares: Floats = spread_H[:2] ** 2 / (spread_H**2).sum()
    return centred_IH @ axes_HH[:2].T, shares


def test_places_are_those_of_a_singular_value_decomposition() -> None:
    generator = np.random.default_rng(3)
    vectors_IH = generator.standard_normal((300, 12)) * np.linspace(3, 0.1, 12)
    popularity_I = generator.integers(0, 50, 300)
    found = map_of(vectors_IH, popularity_I)
    weight_I = popularity_I.astype(np.float64) + 1
    expected_IA, shares = by_the_book(vectors_IH, weight_I)
    place_IA = found.places(np.arange(300))
    for axis in range(2):
        sign = np.sign(place_IA[0, axis] * expected_IA[0, axis])
        np.testing.assert_allclose(place_IA[:, axis], sign * expected_IA[:, axis], atol=1e-6)
    np.testing.assert_allclose(found.share_A, shares, rtol=1e-6)


def test_an_axis_has_one_direction_whatever_the_solver_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vectors_IH = np.random.default_rng(0).standard_normal((40, 6))
    expected_IA = map_of(vectors_IH).places(np.arange(40))
    solve = torch.linalg.eigh

    def turned(matrix_HH: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        variance_H, axes_HH = solve(matrix_HH)
        return variance_H, -axes_HH

    monkeypatch.setattr(torch.linalg, "eigh", turned)
    np.testing.assert_array_equal(map_of(vectors_IH).places(np.arange(40)), expected_IA)


def test_blocks_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors_IH = np.random.default_rng(1).standard_normal((50, 5))
    expected_IA = map_of(vectors_IH).places(np.arange(50))
    monkeypatch.setattr(item_map, "BLOCK_ITEMS", 7)
    np.testing.assert_allclose(map_of(vectors_IH).places(np.arange(50)), expected_IA, atol=1e-12)


def test_the_plane_is_laid_through_popular_items_and_holds_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = np.random.default_rng(2)
    vectors_IH = generator.standard_normal((60, 4))
    monkeypatch.setattr(item_map, "MAX_LAID_ITEMS", 20)
    popularity_I = np.arange(60, 0, -1)
    expected = map_of(vectors_IH[:20], popularity_I[:20])
    found = map_of(vectors_IH, popularity_I)
    np.testing.assert_array_equal(found.places(np.arange(20)), expected.places(np.arange(20)))
    assert found.places(np.arange(60)).shape == (60, 2)


@pytest.mark.parametrize(
    "vectors_IH",
    [np.zeros((5, 3)), np.ones((5, 3)), np.ones((1, 3)), np.array([[2.0], [-1.0], [0.5]])],
    ids=["zeros", "equal", "alone", "one number"],
)
def test_vectors_without_two_axes_have_a_map_all_the_same(vectors_IH: Floats) -> None:
    found = map_of(vectors_IH)
    place_IA = found.places(np.arange(len(vectors_IH)))
    assert place_IA.shape == (len(vectors_IH), 2)
    assert np.isfinite(place_IA).all()
    assert found.share_A[1] == pytest.approx(0, abs=1e-9)


@given(arrays(np.float64, (9, 3), elements=st.floats(-1e6, 1e6, width=32)))
def test_places_and_shares_stay_within_their_bounds(vectors_IH: Floats) -> None:
    found = map_of(vectors_IH)
    assert np.abs(found.places(np.arange(9))).max() <= 2 + 1e-9
    assert all(0 <= share <= 1 for share in found.share_A)
    assert sum(found.share_A) <= 1 + 1e-9


def test_the_length_of_a_vector_does_not_move_its_item() -> None:
    vectors_IH = np.random.default_rng(5).standard_normal((30, 4))
    place_IA = map_of(vectors_IH).places(np.arange(30))
    longer_IH = vectors_IH * np.linspace(1, 64, 30)[:, None]
    np.testing.assert_allclose(map_of(longer_IH).places(np.arange(30)), place_IA, atol=1e-6)

"""The bytes of a list are what they would be if it were written value by value."""

import numpy as np
import orjson
from hypothesis import given
from hypothesis import strategies as st

from service.api.answers import json_bytes, list_content
from service.catalog import Catalog
from service.recommendation import Reason, Recommendation
from service.retrieval.base import TopK

TITLES = ("", "Solaris", 'Quo"tes, and ,"score":1 in it', "Été \U0001f39e", "\u2028\x7f", "")
CATALOG = Catalog(
    ("1", "B00", 'a"b', "ä\\", "\x00", ""), TITLES, ((),) * 6, np.zeros(6, dtype=np.int64)
)


def written_by_value(recommendation: Recommendation) -> bytes:
    catalog = recommendation.catalog
    pairs = zip(recommendation.top.item_index_K.tolist(), recommendation.top.score_K, strict=True)
    content = {
        "items": [
            {"item_id": catalog.item_ids[index], "score": score, "title": catalog.titles[index]}
            if catalog.titles[index]
            else {"item_id": catalog.item_ids[index], "score": score}
            for index, score in pairs
        ],
        "source": recommendation.source,
        "unknown_items": recommendation.unknown_items,
        "cache": recommendation.cache,
        "model": {"name": recommendation.model_name, "version": recommendation.model_version},
        "recommendation_id": recommendation.recommendation_id,
    }
    if recommendation.reason:
        content["reason"] = recommendation.reason
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


any_score = st.floats(width=32) | st.integers(0, 2**24).map(float)
tops = st.lists(st.tuples(st.integers(0, 5), any_score), max_size=8)


@given(tops, st.lists(st.text(max_size=3), max_size=2), st.sampled_from(["", "unknown_user"]))
def test_a_list_is_byte_for_byte_what_plain_values_give(
    top: list[tuple[int, float]], unknown: list[str], reason: Reason
) -> None:
    recommendation = Recommendation(
        top=TopK(
            np.array([index for index, _ in top], dtype=np.int64),
            np.array([score for _, score in top], dtype=np.float32),
        ),
        catalog=CATALOG,
        source="popularity" if reason else "model",
        reason=reason,
        unknown_items=tuple(unknown),
        cache="bypass",
        model_name="films",
        model_version="20260102T000000Z-0123abcd",
        recommendation_id="0" * 32,
    )
    assert json_bytes(list_content(recommendation)) == written_by_value(recommendation)


def test_scores_in_any_layout_are_written() -> None:
    top = TopK(np.array([1, 2]), np.array([3, 9, 1], dtype=np.float32)[::2])
    recommendation = Recommendation(top, CATALOG, "model", "", (), "hit", "m", "v", "r")
    assert json_bytes(list_content(recommendation)) == written_by_value(recommendation)

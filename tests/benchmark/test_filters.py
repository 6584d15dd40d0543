"""What filters cost: the same requests with and without them, in turn, against a real server."""

import http.client
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.catalog import Catalog

pytestmark = [pytest.mark.benchmark, pytest.mark.e2e]

NUM_ITEMS = 20_000
ROUNDS = 400
# Of 20,000 items: one in 1,000, one in 100, half of them, all but one in 20.
CATEGORIES = {"rare": 1000, "some": 100, "half": 2, "most": 20}
FILTERS: dict[str, dict[str, Any]] = {
    "0.1 % by category": {"categories": {"any": ["rare"]}},
    "1 % by category": {"categories": {"all": ["some"]}},
    "50 % by category": {"categories": {"any": ["half"], "none": ["rare"]}},
    "95 % by category": {"categories": {"none": ["most"]}},
    "0.1 % by candidates": {"candidate_items": [f"i{index}" for index in range(20)]},
    "100 excluded": {"exclude_items": [f"i{index}" for index in range(100)]},
}


def catalog() -> Catalog:
    return Catalog(
        item_ids=tuple(f"i{index}" for index in range(NUM_ITEMS)),
        titles=tuple(f"Item {index}" for index in range(NUM_ITEMS)),
        categories=tuple(
            tuple(name for name, every in CATEGORIES.items() if index % every == 0)
            for index in range(NUM_ITEMS)
        ),
        popularity_I=np.arange(NUM_ITEMS)[::-1].copy(),
    )


def test_a_filtered_list_takes_at_most_1_3_times_as_long_as_an_unfiltered_one(
    write_bundle: Callable[..., Path], service_process: Callable[..., Any], tmp_path: Path
) -> None:
    config = {"latent_dim": 200, "hidden_dims": [600]}
    write_bundle(tmp_path, catalog(), "multvae", config=config)
    connection = http.client.HTTPConnection("127.0.0.1", service_process(model_dir=tmp_path).port)
    chance = random.Random(3)
    taken_s: dict[str, list[float]] = {name: [] for name in ("unfiltered", *FILTERS)}
    for _ in range(ROUNDS):
        history = [f"i{chance.randrange(NUM_ITEMS)}" for _ in range(50)]
        for name, times_s in taken_s.items():
            body = json.dumps({"history": history} | FILTERS.get(name, {}))
            started_s = time.perf_counter()
            connection.request("POST", "/recommend", body, {"content-type": "application/json"})
            answer = json.load(connection.getresponse())
            times_s.append(time.perf_counter() - started_s)
            assert 17 <= len(answer["items"]) <= 20  # a history may have some of 20 candidates
    connection.close()
    medians_s = {name: float(np.median(times_s)) for name, times_s in taken_s.items()}
    ratios = {name: round(medians_s[name] / medians_s["unfiltered"], 2) for name in FILTERS}
    print(ratios)  # noqa: T201 - a benchmark tells its figures
    assert max(ratios.values()) <= 1.3, ratios

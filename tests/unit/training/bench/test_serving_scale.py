"""Catalogues of several sizes: a small run with a real server, and its tables and records."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from training.bench import serving_scale
from training.bench.client import AsyncioClosedLoop
from training.bench.scale_report import items_table, read_rows
from training.bench.servers import Launch, Server
from training.bench.serving_scale import (
    Latency,
    ScalePlan,
    ScaleRow,
    measure_sizes,
    scanned_bytes,
)
from training.errors import BadInputError

Start = Callable[[Callable[[int], int]], tuple[int, list[bytes]]]

SMALL = ScalePlan((300,), ("int8",), 16, 8, history=20, k=5, connections=(1, 2), seconds=0.2)
LOADS = (Latency(1, 50.0, 20.0, 30.0, 18.0, 0), Latency(8, 200.0, 40.0, 60.0, None, 3))
ROW = ScaleRow(1_000_000, "int8", 20.0, 10**9, None, 604_000_000, 0.99, LOADS)


def test_a_real_service_is_measured_on_a_catalogue_of_each_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serving_scale, "WARM_UP_S", 0.1)
    told: list[str] = []
    (row,) = measure_sizes(SMALL, AsyncioClosedLoop(), told.append)
    assert (row.items, row.mode, row.recall) == (300, "int8", 1.0)
    assert [load.connections for load in row.loads] == [1, 2]
    assert all(load.errors == 0 and load.rps > 0 for load in row.loads)
    assert row.ready_s > 0
    if row.own_bytes is not None and row.file_bytes is not None:  # on Linux
        assert row.own_bytes > row.file_bytes
    assert told == ["300 items: writing the bundle", "300 items: int8"]


def test_a_service_that_refuses_is_no_measurement(
    tiny_server: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, _ = tiny_server(lambda _: 503)
    launches: list[Launch] = []

    @contextmanager
    def run(launch: Launch) -> Iterator[Server]:
        launches.append(launch)
        yield Server(launch.name, port, os.getpid(), 1.0)

    monkeypatch.setattr(serving_scale, "running", run)
    with pytest.raises(BadInputError, match="the service answers 503"):
        list(measure_sizes(SMALL, AsyncioClosedLoop(), lambda _: None))
    (launch,) = launches
    assert launch.variables["FOLDIN_RETRIEVAL"] == "int8"
    assert launch.limit_s > 120


def test_integers_take_a_quarter_of_the_matrix() -> None:
    whole = scanned_bytes("exact", 1_000_000, 600)
    assert scanned_bytes("int8", 1_000_000, 600) / whole == pytest.approx(0.25, abs=0.01)
    assert scanned_bytes("ann", 1_000_000, 600) / whole == pytest.approx(0.25, abs=0.01)


def test_processor_time_is_told_of_a_request_where_it_is_known() -> None:
    between = serving_scale.cpu_ms_a_request
    assert between(1.0, 3.0, 500) == pytest.approx(4)
    assert between(None, 3.0, 500) is between(1.0, None, 500) is between(1.0, 3.0, 0) is None


def test_the_table_leaves_out_what_is_not_known_and_tells_failures() -> None:
    table = items_table([ROW])
    assert [next(iter(column.cells)) for column in table.columns[:6]] == [
        "1000k", "int8", "20.0", "1,000", "", "604",
    ]  # fmt: skip
    assert table.caption == "3 requests failed; the record has them by size and mode"
    assert items_table([replace(ROW, loads=LOADS[:1])]).caption is None


def test_what_a_record_holds_is_read_back(tmp_path: Path) -> None:
    record = tmp_path / "items.json"
    record.write_text(json.dumps({"items": {"rows": [asdict(ROW)]}}))
    assert read_rows(record) == (ROW,)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("{", "is no record of foldin bench items"),
        ("[]", "is no record of foldin bench items"),
        ('{"items": {"rows": [{"items": 3}]}}', "is no record of foldin bench items"),
        ('{"items": {"rows": []}}', "has no measurement"),
    ],
)
def test_another_file_is_bad_input(tmp_path: Path, content: str | None, words: str) -> None:
    record = tmp_path / "items.json"
    if content is not None:
        record.write_text(content)
    with pytest.raises(BadInputError, match=words):
        read_rows(record)

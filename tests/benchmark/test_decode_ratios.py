"""Decoding has not become slower, by its ratio to a float32 product in the same run.

The baseline has the medians of five runs. It is renewed by hand, where a change is meant to alter
speed, and only on a machine that does nothing else: beside other work, ratios of single runs
lay up to 40 % apart. ``foldin bench decode --quick --repeats 7 --threads 1`` gives them.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from training.verbs.bench import bench

BASELINE = Path(__file__).with_name("decode_ratios.json")
LARGEST_LOSS = 0.2


@pytest.mark.benchmark
def test_no_ratio_to_the_float32_product_fell_by_more_than_a_fifth(tmp_path: Path) -> None:
    baseline = json.loads(BASELINE.read_text())
    record = tmp_path / "decode.json"
    options = ["decode", "--quick", "--repeats", "7", "--threads", "1", "--json", str(record)]
    done = CliRunner().invoke(bench, options)
    assert done.exit_code == 0, done.output
    written = json.loads(record.read_text())
    measured = ratios(written)
    if written["environment"]["instruction_sets"] != baseline["instruction_sets"]:
        pytest.skip(f"the baseline is of a processor with other instructions; here: {measured}")
    slower = fallen(measured, baseline["ratios"])
    assert not slower, "\n".join([*slower, f"all ratios: {measured}"])


def test_a_ratio_that_fell_by_more_than_a_fifth_is_named() -> None:
    kept = {"int8": {"1": 5.0, "8": 3.0}}
    assert fallen({"int8": {"1": 4.1, "8": 9.0}, "ann": {"1": 0.1}}, kept) == []
    assert fallen({"int8": {"1": 3.9, "8": 3.0}}, kept) == ["int8 at batch 1: 3.90, was 5.00"]


def ratios(record: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Give the ratios at k = 20 by mode and batch size, as the baseline keeps them."""
    kept: dict[str, dict[str, float]] = {}
    for row in record["decode"]["rows"]:
        kept.setdefault(row["mode"], {})[str(row["batch"])] = round(row["ratio"], 2)
    return kept


def fallen(measured: dict[str, dict[str, float]], kept: dict[str, dict[str, float]]) -> list[str]:
    """Name what is slower than the baseline allows; other modes than it has are free."""
    return [
        f"{mode} at batch {batch}: {measured[mode][batch]:.2f}, was {was:.2f}"
        for mode, by_batch in kept.items()
        for batch, was in by_batch.items()
        if measured[mode][batch] < (1 - LARGEST_LOSS) * was
    ]

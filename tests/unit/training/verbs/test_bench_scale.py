"""``foldin bench items``, ``plan`` and ``scale`` as a user meets them."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from training import cli
from training.bench import cost_growth, scale_report
from training.bench.cost_growth import GrowthPlan, Point
from training.bench.load import ClosedLoop
from training.bench.serving_scale import Latency, ScalePlan, ScaleRow, Tell

Foldin = Callable[..., int]
MANY = 10**9


@pytest.fixture
def foldin(monkeypatch: pytest.MonkeyPatch) -> Foldin:
    """Run ``foldin bench ARGUMENTS`` in this process and give the exit code."""

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["foldin", "bench", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return int(stop.value.code or 0)

    return run


@pytest.fixture
def scale_plans(monkeypatch: pytest.MonkeyPatch) -> list[ScalePlan]:
    """Let nothing be served: plans are noted, and figures made up."""
    noted: list[ScalePlan] = []

    def measure(plan: ScalePlan, driver: ClosedLoop, tell: Tell) -> Iterator[ScaleRow]:
        assert driver.name
        noted.append(plan)
        for items in plan.items:
            for mode in plan.modes:
                tell(f"{items} {mode}")
                load = Latency(8, 200.0, 10.0, 20.0, items / 1e5, 0)
                yield ScaleRow(items, mode, 3.0, MANY, MANY, items * 600, 1.0, (load,))

    monkeypatch.setattr(scale_report, "measure_sizes", measure)
    return noted


@pytest.fixture
def growth_plans(monkeypatch: pytest.MonkeyPatch) -> list[GrowthPlan]:
    """Let nothing be measured: what a thing costs is its size."""
    noted: list[GrowthPlan] = []

    def measure(plan: GrowthPlan) -> Iterator[Point]:
        noted.append(plan)
        for axis in cost_growth.AXES:
            for size in getattr(plan, axis):
                yield Point(axis, size, "an epoch", float(size), "s")

    monkeypatch.setattr(scale_report, "measured", measure)
    return noted


def test_a_plan_follows_from_the_largest_catalogue_that_was_measured(
    foldin: Foldin,
    scale_plans: list[ScalePlan],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    record, written = tmp_path / "items.json", tmp_path / "plan.json"
    options = ("--sizes", "2000,1000", "--modes", "int8, exact", "--connections", "8", "-k", 7)
    assert foldin("items", *options, "--seconds", 2, "--history", 9, "--json", record) == 0
    (plan,) = scale_plans
    assert (plan.items, plan.modes, plan.connections) == ((2_000, 1_000), ("int8", "exact"), (8,))
    assert (plan.k, plan.seconds, plan.history, plan.threads) == (7, 2, 9, 1)
    assert "2000 exact" in capsys.readouterr().out
    assert foldin("plan", record, "--users", 8_640_000, "--items", 10_000, "--json", written) == 0
    assert "1,500 requests/s in the busiest second" in " ".join(capsys.readouterr().out.split())
    plans = json.loads(written.read_text())["plan"]["plans"]
    assert [(plan["mode"], plan["shards"], plan["replicas"]) for plan in plans] == [
        ("int8", 5, 13),
        ("exact", 5, 13),
    ]


def test_a_quick_look_serves_one_small_catalogue(
    foldin: Foldin, scale_plans: list[ScalePlan]
) -> None:
    assert foldin("items", "--quick") == 0
    assert [(plan.items, plan.seconds) for plan in scale_plans] == [((20_000,), 1.0)]


def test_growth_is_told_drawn_and_recorded(
    foldin: Foldin,
    growth_plans: list[GrowthPlan],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    record, page = tmp_path / "scale.json", tmp_path / "plots" / "scale.html"
    options = ("--users", "1,2,4", "--items", "10,20,40", "--history", "5,6,7", "--threads", 1)
    assert foldin("scale", *options, "--plot", page, "--json", record) == 0
    (plan,) = growth_plans
    assert (plan.users, plan.items, plan.history) == ((1, 2, 4), (10, 20, 40), (5, 6, 7))
    printed = capsys.readouterr().out
    assert "40 items: an epoch 40 s" in printed
    assert printed.count("x2.00") == 3
    growths = json.loads(record.read_text())["scale"]["growths"]
    assert [growth["law"]["exponent"] for growth in growths] == pytest.approx([1, 1, 1])
    assert "Mult-VAE 600-200-600" in page.read_text()


def test_a_quick_look_at_growth_takes_a_small_model_and_draws_nothing(
    foldin: Foldin, growth_plans: list[GrowthPlan]
) -> None:
    assert foldin("scale", "--quick", "--threads", 1) == 0
    (plan,) = growth_plans
    assert plan.shape.hidden < 600
    assert max(plan.items) < 20_000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("items", "--sizes", "20k"), "--sizes '20k'"),
        (("items", "--sizes", "0"), "--sizes '0'"),
        (("items", "--connections", "1,"), "--connections '1,'"),
        (("items", "--modes", "exact,best"), "choose of exact, int8, ann"),
        (("items", "--modes", "auto"), "choose of exact, int8, ann"),
        (("scale", "--users", ""), "--users ''"),
        (("items", "--sizes", "\u0663"), "--sizes '\u0663': write numbers above 0"),
        (("scale", "--users", "1"), "--users 1: 3 different sizes at least make a law"),
        (("scale", "--items", "10,20,10"), "--items 10,20,10: 3 different sizes at least"),
        (("scale", "--history", "5,5,5,5"), "--history 5,5,5,5: 3 different sizes at least"),
        (("plan", "nowhere.json"), "nowhere.json cannot be read"),
    ],
)
def test_what_cannot_be_meant_is_bad_input_before_anything_is_measured(
    foldin: Foldin,
    arguments: tuple[str, ...],
    words: str,
    growth_plans: list[GrowthPlan],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert foldin(*arguments) == 2
    assert growth_plans == []
    assert words in " ".join(capsys.readouterr().err.split())


def test_what_cannot_be_written_is_refused_at_once(foldin: Foldin, tmp_path: Path) -> None:
    assert foldin("items", "--json", tmp_path) == 2
    assert foldin("plan", tmp_path / "items.json", "--json", tmp_path) == 2
    assert foldin("scale", "--json", tmp_path) == 2
    assert foldin("scale", "--plot", tmp_path) == 2


def test_a_plot_that_has_no_place_is_refused_at_once(
    foldin: Foldin,
    growth_plans: list[GrowthPlan],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "taken.txt").write_text("no folder")
    assert foldin("scale", "--plot", tmp_path / "taken.txt" / "deep" / "scale.html") == 2
    assert "taken.txt is no folder" in " ".join(capsys.readouterr().err.split())
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert foldin("scale", "--plot", tmp_path / "new" / "scale.html") == 2
    assert "cannot be written to" in " ".join(capsys.readouterr().err.split())
    assert growth_plans == []


@pytest.mark.parametrize("verb", ["items", "plan", "scale"])
def test_every_bench_explains_itself(
    foldin: Foldin, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert foldin(verb, "--help") == 0
    assert "--json" in capsys.readouterr().out

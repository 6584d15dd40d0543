"""The report of a comparison in a real browser: readable on a phone, silent, self-contained."""

from pathlib import Path

import pytest
from playwright.async_api import Browser

from training.comparison.journal import DataFacts
from training.comparison.report import write_report
from training.comparison.run import Run
from training.comparison.summary import ACCURACY, BEYOND, COST, Figure, Row
from training.state import EpochReport

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """Write a report of twelve models with made-up figures."""
    rows = [_row(number) for number in range(12)]
    facts = {
        "train_users": 750, "items": 1400, "train_interactions": 44_000, "valid_users": 93,
        "valid_users_without_target": 0, "test_users": 93, "test_users_without_target": 0,
    }  # fmt: skip
    data = DataFacts(name="made up", fingerprint="0" * 64, protocol="strong", **facts)
    write_report(tmp_path / "report.html", rows, data)
    return tmp_path / "report.html"


def _row(number: int) -> Row:
    ndcg = 0.36 + 0.007 * number
    curve = tuple(
        EpochReport(epoch, 9, 20 / epoch, 0.01 * epoch, {"ndcg@100": ndcg - 0.2 / epoch}, 1, 0.1)
        for epoch in range(1, 40)
    )
    bands = {
        band: {"ndcg@100": ndcg, "users": 31}
        for band in ("history 0-9", "history 10-49", "history 200+")
    }
    run = Run(
        model=f"model-{number}",
        seed=0,
        config={"latent_dim": 200},
        settings={},
        test={"ndcg@100": ndcg, "users": 93, "users_without_target": 0},
        test_by_history=bands,
        curve=curve,
    )
    figures = {measure.name: Figure(3.0**number % 10_000, 0.002) for measure in COST}
    figures |= {measure.name: Figure(0.512, 0.002) for measure in BEYOND}
    figures |= {measure.name: Figure(ndcg, 0.002, is_best=number == 11) for measure in ACCURACY}
    return Row(run.model, (run,), figures, None)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
async def test_the_report_fits_the_window_and_asks_for_nothing(
    browser: Browser, report: Path, width: int, scheme: str
) -> None:
    context = await browser.new_context(
        viewport={"width": width, "height": 800},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    page = await context.new_page()
    heard: list[str] = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("request", lambda request: heard.append(request.url))
    await page.goto(report.as_uri())
    assert heard == [report.as_uri()]
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    cut_off = await page.evaluate(
        """() => [...document.querySelectorAll("svg text")].filter(text => {
            const box = text.getBoundingClientRect();
            const field = text.ownerSVGElement.getBoundingClientRect();
            return box.left < field.left - 1 || box.right > field.right + 1;
        }).map(text => text.textContent)"""
    )
    assert cut_off == []
    smallest = await page.evaluate(
        """() => Math.min(...[...document.querySelectorAll("svg text")]
            .map(text => text.getBoundingClientRect().height))"""
    )
    assert smallest >= 9
    await context.close()


@pytest.mark.parametrize("width", [1100, 1280])
async def test_every_column_of_the_results_is_in_sight_on_a_laptop(
    browser: Browser, report: Path, width: int
) -> None:
    context = await browser.new_context(viewport={"width": width, "height": 800})
    page = await context.new_page()
    await page.goto(report.as_uri())
    hidden = await page.evaluate(
        """() => [...document.querySelectorAll(".wide")]
            .map(table => table.scrollWidth - table.clientWidth)"""
    )
    assert hidden == [0]
    await context.close()

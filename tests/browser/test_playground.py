"""A person picks what they like, and the list follows: a real browser and a real service."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

OpenPage = Callable[..., Awaitable[Page]]

MARKUP = "<script>document.title = 'owned'</script><img src=x onerror=alert(1)>"
FIRST_K = 12


async def pick(page: Page, text: str) -> None:
    """Pick the first title that holds ``text``."""
    await page.get_by_role("combobox").fill(text)
    await page.get_by_role("option").first.wait_for()
    await page.keyboard.press("Enter")


async def shown(page: Page) -> list[str]:
    return await page.locator("#results [data-slot=label]").all_text_contents()


async def picked(page: Page) -> list[str]:
    return await page.locator("#picks [data-slot=label]").all_text_contents()


async def answered(page: Page, address: str, *titles: str) -> list[str]:
    """Ask the service itself what the page should show for these picks."""
    history = []
    for title in titles:
        found = await page.request.get(f"{address}items", params={"query": title})
        history.append((await found.json())["items"][0]["item_id"])
    body = {"history": history, "k": FIRST_K}
    answer = await page.request.post(f"{address}recommend", data=body)
    items = (await answer.json())["items"]
    return [item.get("title") or item["item_id"] for item in items]


async def from_picks(page: Page, count: str) -> None:
    """Wait for the answer to so many picks."""
    await expect(page.locator("#status")).to_contain_text(f"From {count} in")


def history_of(route: Route) -> list[str]:
    body: dict[str, Any] = json.loads(route.request.post_data or "")
    history: list[str] = body["history"]
    return history


async def test_a_first_visitor_sees_the_most_popular_titles_and_is_told_so(
    page: Page, address: str
) -> None:
    assert await shown(page) == await answered(page, address)
    await expect(page.get_by_role("heading", name="Most popular")).to_be_visible()
    await expect(page.locator("#notice")).to_contain_text("You have picked nothing yet")
    await expect(page.locator("#notice")).to_contain_text("do not come from the model")
    await expect(page.locator("#origin")).to_contain_text("films, version 20260102T000000Z-")
    await expect(page.locator("#search-status")).to_have_attribute("data-idle", "40 titles")


async def test_the_keyboard_alone_finds_picks_and_changes_the_list(
    page: Page, address: str
) -> None:
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("combobox")).to_be_focused()
    await page.keyboard.type("river")
    await expect(page.get_by_role("option")).to_have_count(6)
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    await from_picks(page, "1 pick")
    after_one = await shown(page)
    await page.keyboard.type("harbour blue")
    await expect(page.get_by_role("option")).to_have_count(1)
    await page.keyboard.press("Enter")
    await from_picks(page, "2 picks")
    assert await picked(page) == ["Blue River", "Blue Harbour"]
    assert after_one == await answered(page, address, "Blue River")
    assert await shown(page) == await answered(page, address, "Blue River", "Blue Harbour")
    assert await shown(page) != after_one
    await expect(page.get_by_role("heading", name="Recommended for you")).to_be_visible()
    await expect(page.locator("#notice")).to_be_hidden()


async def test_arrows_go_round_and_escape_closes(page: Page) -> None:
    field = page.get_by_role("combobox")
    await field.press_sequentially("blue")
    options = page.get_by_role("option")
    await expect(options).to_have_count(6)
    await expect(field).to_have_attribute("aria-expanded", "true")
    await expect(options.first).to_have_attribute("aria-selected", "true")
    await page.keyboard.press("ArrowUp")
    await expect(options.last).to_have_attribute("aria-selected", "true")
    last_id = await options.last.get_attribute("id") or ""
    await expect(field).to_have_attribute("aria-activedescendant", last_id)
    await page.keyboard.press("ArrowDown")
    await expect(options.first).to_have_attribute("aria-selected", "true")
    await page.keyboard.press("Escape")
    await expect(field).to_have_attribute("aria-expanded", "false")
    await expect(field).to_have_value("blue")
    await page.keyboard.press("ArrowDown")
    await expect(options).to_have_count(6)


async def test_a_search_says_when_there_is_nothing_and_offers_no_pick_twice(page: Page) -> None:
    await pick(page, "amber paper")
    await page.get_by_role("combobox").press_sequentially("amber paper")
    await expect(page.locator("#search-status")).to_have_text("No other title has “amber paper”")
    await expect(page.get_by_role("option")).to_have_count(0)


async def test_removing_picks_leads_back_and_keeps_the_place_of_the_keyboard(
    page: Page, address: str
) -> None:
    await pick(page, "amber river")
    await pick(page, "copper winter")
    await from_picks(page, "2 picks")
    await page.get_by_role("button", name="Remove Amber River").press("Enter")
    await from_picks(page, "1 pick")
    assert await shown(page) == await answered(page, address, "Copper Winter")
    last = page.get_by_role("button", name="Remove Copper Winter")
    await expect(last).to_be_focused()
    await last.press("Enter")
    await from_picks(page, "no picks")
    await expect(page.get_by_role("combobox")).to_be_focused()
    assert await shown(page) == await answered(page, address)
    await expect(page.locator("#notice")).to_be_visible()


async def test_picks_come_from_the_examples_and_from_the_list_too(page: Page) -> None:
    await page.get_by_role("button", name="Amber Lantern", exact=True).click()
    await from_picks(page, "1 pick")
    top, *_ = await shown(page)
    before = set(await shown(page))
    await page.get_by_role("button", name=f"Add {top} to your picks").click()
    await from_picks(page, "2 picks")
    assert await picked(page) == ["Amber Lantern", top]
    assert top not in await shown(page)
    assert await page.locator(".fresh:visible").count() == len(set(await shown(page)) - before)
    await page.get_by_role("button", name="Clear all").click()
    await from_picks(page, "no picks")
    assert await picked(page) == []


async def test_scores_fall_down_the_list_and_so_do_the_bars(page: Page) -> None:
    await pick(page, "amber river")
    await from_picks(page, "1 pick")
    scores = await page.locator("#results [data-slot=score]").all_text_contents()
    bars = await page.locator("#results .bar").evaluate_all(
        "bars => bars.map(bar => Number(bar.style.getPropertyValue('--share')))"
    )
    assert [float(score) for score in scores] == sorted(map(float, scores), reverse=True)
    assert bars == sorted(bars, reverse=True)
    assert bars[0] == pytest.approx(1)
    assert bars[-1] > 0


async def test_a_title_with_markup_is_shown_as_text(page: Page) -> None:
    await page.get_by_role("combobox").press_sequentially("<script>")
    await expect(page.get_by_role("option").first).to_contain_text(MARKUP)
    await page.keyboard.press("Enter")
    await from_picks(page, "1 pick")
    assert await picked(page) == [MARKUP]
    assert await page.locator("main script, main img").count() == 0
    await expect(page).to_have_title("Foldin")


async def test_an_item_without_a_title_goes_by_its_id(page: Page) -> None:
    assert (await shown(page))[1] == "film-1"
    await page.get_by_role("button", name="Add film-1 to your picks").click()
    await from_picks(page, "1 pick")
    assert await picked(page) == ["film-1"]


async def test_a_dead_service_is_said_and_a_retry_brings_the_list_back(
    page: Page, address: str, complaints: list[str]
) -> None:
    await page.route(f"{address}recommend", lambda route: route.abort())
    await pick(page, "amber river")
    alert = page.get_by_role("alert")
    await expect(alert).to_contain_text("The service does not answer")
    assert await shown(page) == []
    await page.unroute(f"{address}recommend")
    await page.get_by_role("button", name="Try again").click()
    await from_picks(page, "1 pick")
    await expect(alert).to_be_hidden()
    await expect(page.get_by_role("combobox")).to_be_focused()
    assert await shown(page) == await answered(page, address, "Amber River")
    assert len(complaints) == 1
    assert "ERR_FAILED" in complaints.pop()


async def test_a_search_that_fails_says_why(
    page: Page, address: str, complaints: list[str]
) -> None:
    await page.route(f"{address}items?**", lambda route: route.abort())
    await page.get_by_role("combobox").press_sequentially("a")
    await expect(page.locator("#search-status")).to_have_text("The service does not answer")
    complaints.clear()


async def test_a_service_that_is_loading_is_asked_again_when_it_said(
    page: Page, address: str, complaints: list[str]
) -> None:
    async def refuse(route: Route) -> None:
        await route.fulfill(
            status=503,
            headers={"Retry-After": "1"},
            content_type="application/problem+json",
            body=json.dumps({"title": "The model is being loaded", "detail": "one moment"}),
        )

    await page.route(f"{address}recommend", refuse, times=1)
    await pick(page, "amber river")
    await expect(page.get_by_role("alert")).to_contain_text("The model is being loaded")
    await expect(page.get_by_role("alert")).to_contain_text("one moment")
    await from_picks(page, "1 pick")
    assert "503" in complaints.pop()


async def test_an_answer_that_was_overtaken_is_dropped(page: Page, address: str) -> None:
    overtaken = asyncio.Event()

    async def hold_the_first(route: Route) -> None:
        if len(history_of(route)) == 1:
            await overtaken.wait()
        await route.continue_()

    await page.route(f"{address}recommend", hold_the_first)
    await pick(page, "amber river")
    await pick(page, "copper winter")
    await from_picks(page, "2 picks")
    overtaken.set()
    await page.wait_for_timeout(100)
    assert await shown(page) == await answered(page, address, "Amber River", "Copper Winter")


async def test_a_search_closed_before_its_answer_stays_closed(page: Page, address: str) -> None:
    closed = asyncio.Event()

    async def hold(route: Route) -> None:
        await closed.wait()
        await route.continue_()

    await page.route(f"{address}items?**", hold)
    field = page.get_by_role("combobox")
    async with page.expect_request(f"{address}items?query=blue**"):
        await field.press_sequentially("blue")
    await field.evaluate("field => field.blur()")
    async with page.expect_response(f"{address}items?query=blue**"):
        closed.set()
    await page.wait_for_timeout(50)
    await expect(page.get_by_role("listbox")).to_be_hidden()

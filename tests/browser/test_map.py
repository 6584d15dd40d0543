"""A person looks at the map of titles: by pointer, by keyboard, and as a list."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

OpenPage = Callable[..., Awaitable[Page]]

NUM_ITEMS = 40
LIST_LENGTH = 12
KINDS = ("pick", "listed", "popular")
PICKED = {"Amber River": "film-6", "Copper Winter": "film-19"}


async def pick_two(page: Page) -> None:
    for title in PICKED:
        await page.get_by_role("combobox").fill(title)
        await page.get_by_role("option").first.wait_for()
        await page.keyboard.press("Enter")
    await expect(page.locator("#status")).to_contain_text("From 2 picks in")
    await drawn(page, picks=2)


async def drawn(page: Page, *, picks: int) -> None:
    """Wait for a map with so many picks."""
    await expect(page.locator("#points .pick")).to_have_count(picks)


async def points(page: Page, kind: str) -> list[tuple[float, float]]:
    """Tell where the points of a kind are drawn, from the corner of the map."""
    transforms = await page.locator(f"#points .{kind}").evaluate_all(
        "shapes => shapes.map(shape => shape.getAttribute('transform'))"
    )
    texts = [text.removeprefix("translate(").removesuffix(")").split() for text in transforms]
    return [(float(x), float(y)) for x, y in texts]


async def mapped(page: Page) -> dict[str, Any]:
    answer = await page.request.get(f"{page.url.split('#')[0]}items/map")
    return {item["item_id"]: item for item in (await answer.json())["items"]}


async def test_the_map_shows_all_popular_titles_and_marks_picks_and_the_list(page: Page) -> None:
    await expect(page.locator("#points > *")).to_have_count(NUM_ITEMS)
    assert len(await points(page, "listed")) == LIST_LENGTH
    await pick_two(page)
    assert len(await points(page, "listed")) == LIST_LENGTH
    assert len(await points(page, "popular")) == NUM_ITEMS - LIST_LENGTH - 2
    shapes = {
        kind: await page.locator(f"#points .{kind}").first.evaluate(
            "shape => shape.getAttribute('d') + ' ' + getComputedStyle(shape).fill"
        )
        for kind in KINDS
    }
    assert len({text.split(" rgb")[0] for text in shapes.values()}) == 3
    assert len({text.split(" rgb")[1] for text in shapes.values()}) == 3
    await expect(page.locator("#map-shares")).to_contain_text("of what tells titles apart")


async def test_titles_are_drawn_where_the_service_places_them(page: Page) -> None:
    await pick_two(page)
    places = await mapped(page)
    first, second = (places[item_id] for item_id in PICKED.values())
    found = await points(page, "pick")
    # The first of the picks is the leftmost one where its x is the smaller one; likewise for y.
    lefts, tops = ([place[axis] for place in found] for axis in (0, 1))
    assert (max(lefts) - min(lefts) > 1) == (abs(first["x"] - second["x"]) > 0.01)
    extent = await page.locator("#map").evaluate("map => [map.clientWidth, map.clientHeight]")
    for axis, (name, sign) in enumerate((("x", 1), ("y", -1))):
        values = [sign * place[name] for place in places.values()]
        share = [
            (sign * place[name] - min(values)) / (max(values) - min(values))
            for place in (first, second)
        ]
        expected = sorted(18 + one * (extent[axis] - 36) for one in share)
        assert sorted(lefts if axis == 0 else tops) == pytest.approx(expected, abs=0.1)


async def test_a_pointer_names_a_title_and_a_click_adds_it(page: Page) -> None:
    await pick_two(page)
    x, y = (await points(page, "popular"))[5]
    await page.locator("#map").scroll_into_view_if_needed()
    await page.locator("#map").hover(position={"x": x + 2, "y": y - 2})
    said = await page.locator("#map-said").inner_text()
    assert said.endswith(": not on the list")
    title = said.removesuffix(": not on the list")
    assert (await page.locator("#point-label").text_content() or "")[:8] == title[:8]
    await page.locator("#map").click(position={"x": x + 2, "y": y - 2})
    await expect(page.locator("#status")).to_contain_text("From 3 picks in")
    assert (await page.locator("#picks [data-slot=label]").all_text_contents())[-1] == title
    await drawn(page, picks=3)


async def test_the_keyboard_goes_from_mark_to_mark_and_adds_a_title(page: Page) -> None:
    await pick_two(page)
    said = page.locator("#map-said")
    await page.locator("#share").focus()
    while await page.evaluate("document.activeElement.id") != "map":
        await page.keyboard.press("Tab")
    first = (await page.locator("#results [data-slot=label]").all_text_contents())[0]
    await expect(said).to_have_text("Amber River: one of your picks")
    await page.keyboard.press("PageDown")
    await expect(said).to_have_text("Copper Winter: one of your picks")
    await page.keyboard.press("PageDown")
    await expect(said).to_have_text(f"{first}: on the list")
    await page.keyboard.press("Enter")
    await expect(page.locator("#status")).to_contain_text("From 3 picks in")
    assert (await page.locator("#picks [data-slot=label]").all_text_contents())[-1] == first
    await expect(page.locator("#map")).to_be_focused()
    await drawn(page, picks=3)
    await expect(said).to_have_text(f"{first}: one of your picks")
    await page.keyboard.press("PageUp")
    await expect(said).to_have_text("Copper Winter: one of your picks")


async def test_arrows_walk_over_all_titles_to_the_edge(page: Page) -> None:
    await pick_two(page)
    said = page.locator("#map-said")
    await page.locator("#map").focus()
    await page.keyboard.press("PageDown")
    leftmost = min([place for kind in KINDS for place in await points(page, kind)])
    for _ in range(NUM_ITEMS):
        await page.keyboard.press("ArrowLeft")
    assert await ring(page) == pytest.approx(leftmost, abs=0.1)
    met = {await said.inner_text()}
    for _ in range(NUM_ITEMS):
        await page.keyboard.press("ArrowRight")
        met.add((await said.inner_text()).split(": ")[-1])
    assert {"on the list", "not on the list"} <= met


async def ring(page: Page) -> tuple[float, float]:
    text = await page.locator("#ring").get_attribute("transform") or ""
    x, y = text.removeprefix("translate(").removesuffix(")").split()
    return float(x), float(y)


async def test_a_finger_sees_a_title_before_it_adds_it(open_page: OpenPage) -> None:
    page = await open_page(viewport={"width": 360, "height": 740}, has_touch=True)
    await expect(page.locator("#points > *")).to_have_count(NUM_ITEMS)
    x, y = (await points(page, "popular"))[0]
    await page.locator("#map").tap(position={"x": x, "y": y})
    await expect(page.locator("#map-said")).to_contain_text("not on the list")
    await expect(page.locator("#picks li")).to_have_count(0)
    await page.locator("#map").tap(position={"x": x, "y": y})
    await expect(page.locator("#picks li")).to_have_count(1)


async def test_the_map_can_be_read_as_a_list(page: Page) -> None:
    await pick_two(page)
    await page.get_by_text("The map as a list").press("Enter")
    rows = await page.locator("#map-told li").all_inner_texts()
    assert len(rows) == LIST_LENGTH + 2
    assert rows[0].startswith("Amber River, one of your picks. Near: ")
    assert rows[0].count(" · ") == 2
    assert "on the list" in rows[2]


async def test_marks_stand_out_from_the_map_by_night_and_by_day(open_page: OpenPage) -> None:
    for scheme in ("light", "dark"):
        page = await open_page(color_scheme=scheme, path="#pick=film-2")
        await drawn(page, picks=1)
        colors = await page.evaluate(
            """() => ["#map", "#points .pick", "#points .listed"].map((place, at) => {
                const style = getComputedStyle(document.querySelector(place));
                return (at ? style.fill : style.backgroundColor).match(/\\d+/g).map(Number);
            })"""
        )
        card, *marks = map(luminance, colors)
        for mark in marks:
            assert (max(card, mark) + 0.05) / (min(card, mark) + 0.05) >= 3


def luminance(color: list[float]) -> float:
    parts = [value / 255 for value in color]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


async def test_a_model_without_vectors_has_no_map_and_says_so(
    open_page: OpenPage, linear_address: str
) -> None:
    page = await open_page(at=linear_address)
    await expect(page.locator("#map-none")).to_contain_text("no vectors of titles")
    await expect(page.locator("#map")).to_be_hidden()


async def test_a_map_that_fails_says_why_and_comes_back(
    page: Page, address: str, complaints: list[str]
) -> None:
    await page.evaluate("location.hash = 'model=nobody'")  # changes nothing that is asked
    failure = page.locator("#map-failure")

    async def refuse(route: Route) -> None:
        problem = {"title": "The service is at capacity"}
        await route.fulfill(status=503, json=problem, content_type="application/problem+json")

    await page.route(f"{address}items/map*", refuse)
    await page.reload()
    await expect(failure).to_have_text("There is no map now: The service is at capacity.")
    await page.unroute(f"{address}items/map*")
    await page.get_by_role("button", name="Amber Lantern", exact=True).click()
    await drawn(page, picks=1)
    await expect(failure).to_have_text("")
    assert all("503" in complaint for complaint in complaints)
    complaints.clear()


async def test_a_list_that_fails_leaves_the_map_and_the_picks_stay(
    page: Page, address: str, complaints: list[str]
) -> None:
    await page.route(f"{address}recommend", lambda route: route.abort())
    await page.get_by_role("button", name="Amber Lantern", exact=True).click()
    await page.get_by_role("alert").wait_for()
    await drawn(page, picks=1)
    assert await points(page, "listed") == []
    assert "ERR_FAILED" in complaints.pop()


async def test_a_slow_map_does_not_show_an_older_list(page: Page, address: str) -> None:
    asked: list[str] = []
    overtaken = asyncio.Event()

    async def know_two(route: Route) -> None:
        """Let the page know two titles, so that it has to ask for the others."""
        body = await (await route.fetch()).json()
        await route.fulfill(json=body | {"items": body["items"][:2]})

    async def hold_the_first(route: Route) -> None:
        asked.append(route.request.url)
        if len(asked) == 1:
            await overtaken.wait()
        await route.continue_()

    await page.route(f"{address}items/map?limit=500*", know_two)
    await page.reload()
    await expect(page.locator("#points > *")).to_have_count(2)
    await page.route(f"{address}items/map?limit=0*", hold_the_first)
    for count, title in (("1 pick", "Amber Lantern"), ("2 picks", "Amber Harbour")):
        await page.get_by_role("button", name=title, exact=True).click()
        await expect(page.locator("#status")).to_contain_text(f"From {count} in")
    await drawn(page, picks=2)
    overtaken.set()
    await page.wait_for_timeout(100)
    await drawn(page, picks=2)
    assert len(await points(page, "listed")) == LIST_LENGTH

"""The page by screen reader and keyboard: an audit by axe-core, what is said, where Tab goes."""

from collections.abc import Awaitable, Callable

import pytest
from playwright.async_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

OpenPage = Callable[..., Awaitable[Page]]
Audit = Callable[[Page], Awaitable[list[str]]]

TUNED = "#pick=film-2&pick=film-9&dislike=film-5&diversity=0.5&any=Sea&none=Comedy"
STEERED = f"{TUNED}&steer=0:1.5"


@pytest.fixture
def violations() -> Audit:
    """Audit a page once it stands still, with every rule of axe-core."""
    axe = pytest.importorskip(
        "axe_playwright_python.async_playwright",
        reason="no axe-core: pip install axe-playwright-python",
    )

    async def audit(page: Page) -> list[str]:
        # A list that fades has less contrast than it comes to rest with.
        await expect(page.locator("[aria-busy=true]")).to_have_count(0)
        await page.evaluate("Promise.allSettled(document.getAnimations().map(a => a.finished))")
        found = (await axe.Axe().run(page)).response["violations"]
        return [f"{kind['id']}: {node['html']}" for kind in found for node in kind["nodes"]]

    return audit


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
async def test_axe_finds_nothing_to_mend(
    open_page: OpenPage, violations: Audit, width: int, scheme: str
) -> None:
    page = await open_page(
        viewport={"width": width, "height": 812}, color_scheme=scheme, reduced_motion="reduce"
    )
    await page.locator("#results li").first.wait_for()
    assert await violations(page) == []
    await page.evaluate("hash => { location.hash = hash; }", STEERED)
    await expect(page.locator("#status")).to_contain_text("From 2 picks")
    for opened in ("#tune", "#steer"):
        await expect(page.locator(opened)).to_have_attribute("open", "")
    await page.get_by_role("button", name="Similar to").first.click()
    await page.locator(".near li").first.wait_for()
    await page.get_by_text("The map as a list").click()
    await expect(page.locator("#map-told li").first).to_be_visible()
    await page.locator("#map").focus()
    assert await violations(page) == []
    await page.get_by_role("combobox").fill("silver")
    await page.get_by_role("option").first.wait_for()
    assert await violations(page) == []


async def test_axe_finds_nothing_to_mend_where_the_service_refuses(
    open_page: OpenPage,
    violations: Audit,
    address: str,
    linear_address: str,
    complaints: list[str],
) -> None:
    page = await open_page(path="#pick=film-2&exploration=1", at=linear_address)
    await expect(page.locator("#refused")).to_contain_text("Not with this model")
    await expect(page.locator("#map-none")).to_be_visible()
    assert await violations(page) == []
    page = await open_page()
    await page.locator("#results li").first.wait_for()
    await page.route(f"{address}recommend", lambda route: route.abort())
    await page.get_by_role("button", name="Amber Lantern", exact=True).click()
    await page.get_by_role("alert").wait_for()
    assert await violations(page) == []
    complaints.clear()  # of the refusal


async def test_a_change_of_the_list_is_said_to_those_who_do_not_see_it(page: Page) -> None:
    said = page.get_by_role("status").filter(has_text="picks in")
    await expect(said).to_contain_text("First: Amber Island.")
    before = set(await page.locator("#results [data-slot=label]").all_text_contents())
    await page.get_by_role("button", name="Amber Lantern", exact=True).click()
    said = page.get_by_role("status").filter(has_text="From 1 pick in")
    await said.wait_for()
    after = await page.locator("#results [data-slot=label]").all_text_contents()
    numbers = f"12 titles, {len(set(after) - before)} of them new. First: {after[0]}."
    await expect(said).to_contain_text(numbers)
    assert await said.get_attribute("aria-live") == "polite"


async def test_tab_goes_from_the_search_over_the_settings_to_the_list(
    open_page: OpenPage,
) -> None:
    page = await open_page(path=TUNED, viewport={"width": 1280, "height": 800})
    await expect(page.locator("#status")).to_contain_text("From 2 picks")
    await expect(page.locator("#suggestions button")).to_have_count(6)
    await page.get_by_role("combobox").focus()
    way = [await focused(page)]
    while way[-1] != "add":
        await page.keyboard.press("Tab")
        way.append(await focused(page))
    assert [stop for index, stop in enumerate(way) if way[index - 1] != stop] == [
        "search", "clear", "picks", "dislikes", "suggestions", "tune", "diversity", "exploration",
        "popularity_penalty", "calibration", "steer", "category-chips", "untune", "like", "dislike",
        "add",
    ]  # fmt: skip


async def focused(page: Page) -> str:
    """Name the thing that the keyboard is at, by its id, its list's or its kind."""
    name: str = await page.evaluate(
        """() => {
            const thing = document.activeElement;
            if (thing.closest("#results")) return thing.classList[1];
            return thing.id || thing.closest("[id]").id;
        }"""
    )
    return name

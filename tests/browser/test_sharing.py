"""The address of the page holds all that a person asked for."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from playwright.async_api import Page, ViewportSize, expect

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

OpenPage = Callable[..., Awaitable[Page]]

PHONE: ViewportSize = {"width": 375, "height": 812}
DESK: ViewportSize = {"width": 1280, "height": 800}
TUNED = (
    "pick=film-2&pick=film-9&dislike=film-5"
    "&diversity=0.5&exploration=0.8&popularity_penalty=0.1&none=Comedy&seed=7"
)
TUNED_BODY: dict[str, Any] = {
    "history": ["film-2", "film-9"],
    "dislikes": ["film-5"],
    "diversity": 0.5,
    "exploration": 0.8,
    "popularity_penalty": 0.1,
    "categories": {"none": ["Comedy"]},
    "seed": 7,
    "k": 12,
}


async def settled(page: Page) -> None:
    await page.locator("#results[aria-busy=false]").wait_for()


async def texts(page: Page, where: str) -> list[str]:
    return await page.locator(f"{where} [data-slot=label]").all_text_contents()


async def assert_tuned(page: Page, address: str) -> None:
    """The page shows what ``TUNED`` asks for, by name."""
    await settled(page)
    await expect(page.locator("#picks")).to_contain_text("Blue Lantern")
    assert await texts(page, "#picks") == ["Amber Harbour", "Blue Lantern"]
    assert await texts(page, "#dislikes") == ["Amber Paper"]
    answer = await page.request.post(f"{address}recommend", data=TUNED_BODY)
    items = (await answer.json())["items"]
    assert await texts(page, "#results") == [item.get("title", item["item_id"]) for item in items]
    await expect(page.get_by_role("slider", name="Exploration")).to_have_value("0.8")
    await expect(page.get_by_role("button", name="Comedy")).to_have_accessible_name(
        "Comedy: none of these"
    )


@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
async def test_a_link_brings_all_of_it_back_and_so_does_a_reload(
    open_page: OpenPage, address: str, viewport: ViewportSize
) -> None:
    page = await open_page(path=f"#{TUNED}", viewport=viewport)
    await assert_tuned(page, address)
    await page.reload()
    await assert_tuned(page, address)


async def test_a_link_that_is_opened_over_the_page_is_followed(page: Page, address: str) -> None:
    await page.evaluate("hash => { location.hash = hash; }", TUNED)
    await expect(page.locator("#picks li")).to_have_count(2)
    await assert_tuned(page, address)


async def test_the_copied_link_is_the_list_on_another_machine(
    open_page: OpenPage, address: str
) -> None:
    page = await open_page(viewport=DESK, permissions=["clipboard-read", "clipboard-write"])
    await page.get_by_role("button", name="Add Amber Harbour to your picks").click()
    await page.get_by_role("slider", name="Diversity").fill("0.25")
    await page.get_by_role("button", name="Sea").click()
    await settled(page)
    await page.get_by_role("button", name="Copy a link").press("Enter")
    await expect(page.locator("#shared")).to_have_text("Link copied")
    link: str = await page.evaluate("navigator.clipboard.readText()")
    assert link == f"{address}#pick=film-2&diversity=0.25&any=Sea"
    other = await open_page(path=link.removeprefix(address), viewport=PHONE)
    await settled(other)
    assert await texts(other, "#results") == await texts(page, "#results")
    await expect(page.get_by_role("button", name="Copy a link")).to_be_visible()


async def test_where_a_page_may_not_copy_there_is_no_button(open_page: OpenPage) -> None:
    hidden = "Object.defineProperty(navigator, 'clipboard', { value: undefined })"
    page = await open_page(script=hidden)
    await settled(page)
    await expect(page.locator("#share")).to_be_hidden()


async def test_an_empty_page_has_an_empty_address(page: Page, address: str) -> None:
    await page.get_by_role("button", name="Add Amber Harbour to your picks").click()
    await expect(page).to_have_url(f"{address}#pick=film-2")
    await page.get_by_role("button", name="Clear all").click()
    await expect(page).to_have_url(address)


async def test_an_address_of_nonsense_asks_for_what_can_be_had(
    open_page: OpenPage, address: str
) -> None:
    nonsense = "pick=nowhere&pick=film-2&diversity=7&exploration=x&seed=-3&markup=%3Cimg%3E&%"
    page = await open_page(path=f"#{nonsense}", viewport=DESK)
    await settled(page)
    await expect(page.locator("#notice")).to_have_text("Unknown to the model: nowhere.")
    await expect(page.get_by_role("slider", name="Diversity")).to_have_value("1")
    await expect(page.get_by_role("slider", name="Exploration")).to_have_value("0")
    await expect(page.locator("#picks")).to_contain_text("Amber Harbour")
    assert await texts(page, "#picks") == ["nowhere", "Amber Harbour"]
    assert page.url.startswith(address)


async def test_a_category_that_no_title_has_leaves_an_empty_list_that_says_so(
    open_page: OpenPage,
) -> None:
    page = await open_page(path="#pick=film-2&any=Nowhere", viewport=DESK)
    await expect(page.locator("#status")).to_have_text("No title fits your categories")
    await page.get_by_role("button", name="Nowhere").click()
    await page.get_by_role("button", name="Nowhere").click()
    await expect(page.locator("#results li")).to_have_count(12)

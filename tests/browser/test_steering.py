"""A person steers the list by what the model has learned."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from playwright.async_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

OpenPage = Callable[..., Awaitable[Page]]

PICK = "film-6"


async def settled(page: Page) -> None:
    await expect(page.locator("#results")).to_have_attribute("aria-busy", "false")


async def open_sliders(page: Page) -> None:
    """Pick a title, and fold the sliders out by the keyboard."""
    await page.get_by_role("combobox").fill("amber river")
    await page.get_by_role("option").first.wait_for()
    await page.keyboard.press("Enter")
    await expect(page.locator("#status")).to_contain_text("From 1 pick in")
    await page.get_by_text("Steer by what the model has learned").press("Enter")
    await expect(page.get_by_role("slider", name="Dimension").first).to_be_visible()
    await settled(page)


async def shown(page: Page) -> list[str]:
    return await page.locator("#results [data-slot=label]").all_text_contents()


async def answered(page: Page, **wishes: Any) -> list[str]:  # noqa: ANN401 - as the body has them
    body = {"history": [PICK], "k": 12} | wishes
    answer = await page.request.post(f"{page.url.split('#')[0]}recommend", data=body)
    return [item.get("title") or item["item_id"] for item in (await answer.json())["items"]]


async def dimensions(page: Page) -> list[dict[str, Any]]:
    answer = await page.request.get(f"{page.url.split('#')[0]}models/films/dimensions?limit=6")
    found: list[dict[str, Any]] = (await answer.json())["dimensions"]
    return found


async def test_the_sliders_are_those_that_move_the_most_and_say_what_they_raise(
    page: Page,
) -> None:
    await open_sliders(page)
    expected = await dimensions(page)
    labels = await page.locator("#dimensions label").all_text_contents()
    assert labels == [f"Dimension {found['dimension']}" for found in expected]
    slider = page.get_by_role("slider", name="Dimension").first
    for side, word in ("below", "Less"), ("above", "More"):
        item = expected[0][side]["items"][0]
        said = f"{word}: {item.get('title') or item['item_id']}"
        assert said in await page.locator(".ends [data-slot=heard]").first.inner_text()
    await expect(slider).to_have_attribute("aria-valuetext", "off")
    described = await slider.get_attribute("aria-describedby")
    assert described == f"dimension-{expected[0]['dimension']}-ends"


async def test_a_dimension_moves_the_list_to_either_side_and_back(page: Page) -> None:
    await open_sliders(page)
    dimension = str((await dimensions(page))[0]["dimension"])
    slider = page.get_by_role("slider", name=f"Dimension {dimension}", exact=True)
    await slider.focus()
    for _ in range(8):
        await page.keyboard.press("ArrowRight")
    await expect(slider).to_have_attribute("aria-valuetext", "+2")
    await settled(page)
    assert await shown(page) == await answered(page, steer={dimension: 2})
    await slider.fill("-3")
    await expect(slider).to_have_attribute("aria-valuetext", "−3")  # noqa: RUF001 - a minus
    await settled(page)
    lowest = await shown(page)
    assert lowest == await answered(page, steer={dimension: -3})
    assert lowest != await answered(page)
    await expect(page.locator("#settings")).to_contain_text(f"dimension {dimension} −3")  # noqa: RUF001 - a minus
    await page.get_by_role("button", name="Back to the model").click()
    await settled(page)
    assert await shown(page) == await answered(page)
    await expect(slider).to_have_value("0")


async def test_a_steered_list_is_explained_as_it_is(page: Page) -> None:
    await open_sliders(page)
    await page.get_by_role("slider", name="Dimension").first.fill("2")
    await settled(page)
    reasons = {text for text in await page.locator(".because").all_text_contents() if text}
    assert reasons <= {"Because you picked Amber River"}


async def test_an_address_brings_a_steered_list_back(page: Page, open_page: OpenPage) -> None:
    await open_sliders(page)
    await page.get_by_role("slider", name="Dimension").first.fill("1.25")
    await settled(page)
    assert "steer=" in page.url
    other = await open_page(path=f"#{page.url.split('#')[1]}")
    await settled(other)
    await expect(other.locator("#status")).to_contain_text("From 1 pick in")
    assert await shown(other) == await shown(page)
    await expect(other.get_by_role("slider", name="Dimension").first).to_have_value("1.25")


@pytest.mark.parametrize("move", ["99999:1", "-1:2", "x:1", "0", "0:", "0:nobody"])
async def test_an_address_that_moves_what_there_is_not_moves_nothing(
    open_page: OpenPage, move: str
) -> None:
    page = await open_page(path=f"#pick={PICK}&steer={move}")
    await expect(page.locator("#status")).to_contain_text("From 1 pick in")
    assert await shown(page) == await answered(page)
    await expect(page.get_by_role("alert")).to_be_hidden()


async def test_a_list_of_popular_titles_says_that_no_slider_moves_it(page: Page) -> None:
    await page.get_by_text("Steer by what the model has learned").click()
    await page.get_by_role("slider", name="Dimension").first.fill("2")
    await expect(page.locator("#notice")).to_contain_text("the sliders do not move them")

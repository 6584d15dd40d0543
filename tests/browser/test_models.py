"""A person asks one model, then another, and looks at what is similar to a title."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

OpenPage = Callable[..., Awaitable[Page]]

DESK = {"width": 1280, "height": 800}


async def settled(page: Page) -> None:
    await expect(page.locator("#results")).to_have_attribute("aria-busy", "false")


async def shown(page: Page) -> list[str]:
    return await page.locator("#results [data-slot=label]").all_text_contents()


async def answered(page: Page, **wishes: Any) -> list[str]:  # noqa: ANN401 - as the body has them
    body = {"history": ["film-6"], "k": 12} | wishes
    answer = await page.request.post(f"{page.url.split('#')[0]}recommend", data=body)
    return [item.get("title") or item["item_id"] for item in (await answer.json())["items"]]


async def open_several(open_page: OpenPage, address: str, path: str = "#pick=film-6") -> Page:
    page = await open_page(at=address, path=path, viewport=DESK)
    await expect(page.locator("#status")).to_contain_text("From 1 pick in")
    await settled(page)
    return page


async def test_where_one_model_is_served_there_is_nothing_to_choose(page: Page) -> None:
    await expect(page.locator("#which")).to_be_hidden()


async def test_another_model_answers_with_its_own_titles_and_map(
    open_page: OpenPage, several_address: str
) -> None:
    page = await open_several(open_page, several_address)
    choice = page.get_by_role("combobox", name="Model")
    options = await choice.locator("option").all_text_contents()
    assert options == [
        "films (multvae)", "few (multvae)", "shades (betavae)", "weights (ease)"
    ]  # fmt: skip
    assert await shown(page) == await answered(page)
    before = await places(page)
    await choice.focus()
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("ArrowDown")
    await expect(page.locator("#origin")).to_contain_text("shades, version")
    await settled(page)
    await expect(choice).to_be_focused()
    assert await shown(page) == await answered(page, model="shades")
    assert "model=shades" in page.url
    await expect(page.locator("#points .pick")).to_have_count(1)
    assert await places(page) != before
    await page.get_by_role("combobox", name="Search").fill("golden river")
    await expect(page.get_by_role("option", name="Golden River")).to_have_count(3)


async def test_each_model_has_its_own_controls(open_page: OpenPage, several_address: str) -> None:
    page = await open_several(open_page, several_address)
    choice = page.get_by_role("combobox", name="Model")
    await choice.select_option("weights (ease)")
    await expect(page.locator("#origin")).to_contain_text("weights, version")
    await settled(page)
    assert await shown(page) == await answered(page, model="weights")
    await expect(page.locator("#refused")).to_contain_text("diversity, exploration")
    await expect(page.locator("#steer")).to_be_hidden()
    await expect(page.locator("#map-none")).to_be_visible()
    await choice.select_option("films (multvae)")
    await expect(page.locator("#origin")).to_contain_text("films, version")
    assert "model=" not in page.url
    await expect(page.locator("#refused")).to_have_text("")
    for shown_again in ("#steer", "#map"):
        await expect(page.locator(shown_again)).to_be_visible()


async def places(page: Page) -> list[str]:
    """Tell where the titles are on the map."""
    await page.locator("#points .pick").wait_for()
    found: list[str] = await page.locator("#points > *").evaluate_all(
        "shapes => shapes.map(shape => shape.getAttribute('transform'))"
    )
    return found


async def test_moves_of_dimensions_stay_with_their_model(
    open_page: OpenPage, several_address: str
) -> None:
    page = await open_several(open_page, several_address)
    await page.get_by_text("Steer by what the model has learned").click()
    await page.get_by_role("slider", name="Dimension").first.fill("2")
    await page.get_by_role("slider", name="Diversity").fill("0.5")
    await settled(page)
    await page.get_by_role("combobox", name="Model").select_option("shades")
    await expect(page.locator("#origin")).to_contain_text("shades, version")
    await settled(page)
    assert await shown(page) == await answered(page, model="shades", diversity=0.5)
    assert "steer=" not in page.url


async def test_an_address_names_the_model(open_page: OpenPage, several_address: str) -> None:
    page = await open_several(open_page, several_address, "#model=shades&pick=film-6")
    await expect(page.get_by_role("combobox", name="Model")).to_have_value("shades")
    assert await shown(page) == await answered(page, model="shades")


@pytest.mark.parametrize(
    ("name", "said"),
    [("films", ""), ("gone", "“gone”, which is not served here: this list is that of films.")],
)
async def test_an_address_may_name_the_default_model_or_one_that_is_not_served_which_is_said(
    open_page: OpenPage, several_address: str, name: str, said: str
) -> None:
    page = await open_several(open_page, several_address, f"#model={name}&pick=film-6")
    choice = page.get_by_role("combobox", name="Model")
    await expect(choice).to_have_value("")
    assert await shown(page) == await answered(page)
    assert "model=" not in page.url
    await expect(page.locator("#notice")).to_contain_text(said)
    await choice.select_option("shades")
    await expect(page.locator("#origin")).to_contain_text("shades, version")
    await expect(page.locator("#notice")).to_be_hidden()


async def test_a_control_keeps_its_place_while_another_model_lacks_it(
    open_page: OpenPage, several_address: str
) -> None:
    path = "#pick=film-6&diversity=0.5&exploration=0.8&calibration=0.3"
    page = await open_several(open_page, several_address, path)
    tuned = {"diversity": 0.5, "exploration": 0.8, "seed": 1, "calibration": 0.3}
    assert await shown(page) == await answered(page, **tuned)
    address = page.url
    choice = page.get_by_role("combobox", name="Model")
    await choice.select_option("weights")
    await expect(page.locator("#origin")).to_contain_text("weights, version")
    await settled(page)
    assert await shown(page) == await answered(page, model="weights", calibration=0.3)
    assert page.url.endswith("#model=weights&pick=film-6&calibration=0.3")
    await choice.select_option("films (multvae)")
    await expect(page.locator("#origin")).to_contain_text("films, version")
    await settled(page)
    assert await shown(page) == await answered(page, **tuned)
    assert page.url == address
    await expect(page.get_by_role("slider", name="Diversity")).to_have_value("0.5")


async def test_what_a_model_does_not_know_is_called_by_its_title_all_the_same(
    open_page: OpenPage, several_address: str
) -> None:
    page = await open_page(at=several_address, path="#model=few&pick=film-6&pick=nowhere")
    picks = page.locator("#picks [data-slot=label]")
    for _ in range(2):
        await expect(picks).to_have_text(["Amber River", "nowhere"])
        await expect(page.locator("#notice")).to_contain_text(
            "Unknown to the model: Amber River; nowhere."
        )
        await page.reload()


async def test_a_slow_answer_of_the_model_before_is_never_shown(
    open_page: OpenPage, several_address: str
) -> None:
    page = await open_several(open_page, several_address)
    chosen = asyncio.Event()

    async def hold_shades(route: Route) -> None:
        if "shades" in (route.request.post_data or "") + route.request.url:
            await chosen.wait()
        await route.continue_()

    for path in ("recommend", "items?*", "items/map*", "models/*"):
        await page.route(f"{several_address}{path}", hold_shades)
    choice = page.get_by_role("combobox", name="Model")
    async with page.expect_request(f"{several_address}recommend"):
        await choice.select_option("shades")
    await choice.select_option("weights")
    await expect(page.locator("#origin")).to_contain_text("weights, version")
    chosen.set()
    await page.wait_for_timeout(200)
    await expect(page.locator("#origin")).to_contain_text("weights, version")
    assert await shown(page) == await answered(page, model="weights")
    await expect(page.locator("#steer")).to_be_hidden()
    await expect(page.locator("#map-none")).to_be_visible()


async def test_a_bundle_that_takes_over_brings_its_own_controls(page: Page, address: str) -> None:
    await page.get_by_text("Steer by what the model has learned").click()
    await page.get_by_role("slider", name="Dimension").first.fill("2")
    await settled(page)

    async def newer(route: Route) -> None:
        body = await (await route.fetch()).json()
        body["model"]["version"] = "newer"
        await route.fulfill(json=body)

    async def fewer_controls(route: Route) -> None:
        body = await (await route.fetch()).json()
        body["models"][0] |= {"version": "newer", "controls": ["diversity", "dislikes", "explain"]}
        await route.fulfill(json=body)

    await page.route(f"{address}recommend", newer)
    await page.route(f"{address}models", fewer_controls)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.get_by_role("button", name="Amber Lantern", exact=True).click()
    await expect(page.locator("#origin")).to_contain_text("version newer")
    await expect(page.locator("#refused")).to_contain_text("exploration, popularity penalty")
    await expect(page.locator("#steer")).to_be_hidden()
    await expect(page.get_by_role("slider", name="Diversity")).to_be_visible()
    assert "steer=" not in page.url
    await expect(page.locator("#points .pick")).to_have_count(1)
    assert [url for url in asked if "items/map?limit=500" in url]
    assert len([url for url in asked if url.endswith("/models")]) == 1


async def test_what_is_similar_is_shown_below_a_title_and_can_be_picked(page: Page) -> None:
    await page.get_by_role("button", name="Amber Lantern", exact=True).click()
    await expect(page.locator("#status")).to_contain_text("From 1 pick in")
    top = (await shown(page))[0]
    button = page.get_by_role("button", name=f"Similar to {top}", exact=True)
    await expect(button).to_have_attribute("aria-expanded", "false")
    await button.press("Enter")
    chips = page.get_by_role("list", name=f"Similar to {top}").get_by_role("button")
    await expect(chips).to_have_count(6)
    await expect(button).to_have_attribute("aria-expanded", "true")
    found = await page.request.get(f"{page.url.split('#')[0]}items?query={top}")
    item_id = (await found.json())["items"][0]["item_id"]
    near = await page.request.get(f"{page.url.split('#')[0]}items/{item_id}/similar?k=6")
    expected = [item.get("title") or item["item_id"] for item in (await near.json())["items"]]
    assert await chips.all_text_contents() == expected
    await button.press("Enter")
    await expect(chips).to_have_count(0)
    await button.press("Enter")
    await chips.first.press("Enter")
    await expect(page.locator("#status")).to_contain_text("From 2 picks in")
    picks = await page.locator("#picks [data-slot=label]").all_text_contents()
    assert picks == ["Amber Lantern", expected[0]]
    assert await page.evaluate("document.activeElement !== document.body")


async def test_one_question_about_similar_titles_takes_the_place_of_another(
    page: Page, address: str
) -> None:
    second_asked = asyncio.Event()
    calls = 0

    async def hold_the_first(route: Route) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            await second_asked.wait()
        await route.continue_()

    await page.route(f"{address}items/*/similar*", hold_the_first)
    buttons = page.get_by_role("button", name="Similar to")
    await buttons.nth(0).click()
    await expect(page.get_by_text("Looking…").first).to_be_visible()
    await buttons.nth(1).click()
    await expect(page.locator(".near li")).to_have_count(6)
    second_asked.set()
    await page.wait_for_timeout(100)
    await expect(page.locator(".near li")).to_have_count(6)
    await expect(buttons.nth(0)).to_have_attribute("aria-expanded", "false")


async def test_similar_titles_that_fail_say_why(
    page: Page, address: str, complaints: list[str]
) -> None:
    await page.route(f"{address}items/*/similar*", lambda route: route.abort())
    await page.get_by_role("button", name="Similar to").first.click()
    await expect(page.locator(".near p").first).to_have_text("The service does not answer")
    complaints.clear()

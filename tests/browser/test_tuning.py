"""A person tunes the list, with reasons, sliders, dislikes and categories."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from playwright.async_api import Page, Request, Route, expect

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

OpenPage = Callable[..., Awaitable[Page]]

FIRST_K = 12
PICKED = {"Amber River": "film-6", "Blue Harbour": "film-8", "Copper Winter": "film-19"}
HISTORY = list(PICKED.values())


async def settled(page: Page) -> None:
    """Wait for the answer to what was asked for last."""
    await expect(page.locator("#results")).to_have_attribute("aria-busy", "false")


async def pick_three(page: Page) -> None:
    """Search for three titles and pick them, by the keyboard."""
    for title in PICKED:
        await page.get_by_role("combobox").fill(title)
        await page.get_by_role("option").first.wait_for()
        await page.keyboard.press("Enter")
    await expect(page.locator("#status")).to_contain_text("From 3 picks in")


async def shown(page: Page) -> list[str]:
    return await page.locator("#results [data-slot=label]").all_text_contents()


async def answered(page: Page, **wishes: Any) -> list[str]:  # noqa: ANN401 - as the body has them
    """Ask the service itself what the page should show."""
    body = {"history": HISTORY, "k": FIRST_K} | wishes
    answer = await page.request.post(f"{page.url.split('#')[0]}recommend", data=body)
    return [item.get("title") or item["item_id"] for item in (await answer.json())["items"]]


def listen(page: Page) -> list[dict[str, Any]]:
    """Write down what the page asks for from now on."""
    asked: list[dict[str, Any]] = []

    def on_request(request: Request) -> None:
        if request.url.endswith("/recommend"):
            asked.append(json.loads(request.post_data or ""))

    page.on("request", on_request)
    return asked


async def test_an_item_says_which_picks_raised_it(page: Page) -> None:
    await pick_three(page)
    said = [text for text in await page.locator(".because").all_text_contents() if text]
    assert said
    for reason in said:
        assert reason.startswith("Because you picked ")
        assert set(reason.removeprefix("Because you picked ").split(" and ")) <= set(PICKED)


async def test_the_most_popular_titles_claim_no_reason(page: Page) -> None:
    assert await page.locator(".because").all_text_contents() == [""] * FIRST_K


async def test_a_slider_moves_by_the_arrows_and_the_list_with_it(page: Page) -> None:
    await pick_three(page)
    slider = page.get_by_role("slider", name="Diversity")
    await slider.focus()
    for _ in range(10):
        await page.keyboard.press("ArrowRight")
    await expect(slider).to_have_attribute("aria-valuetext", "0.5")
    await settled(page)
    assert await shown(page) == await answered(page, diversity=0.5)
    assert await shown(page) != await answered(page)
    await expect(slider).to_be_focused()


async def test_a_slider_on_the_move_asks_once_it_rests(page: Page) -> None:
    await pick_three(page)
    asked = listen(page)
    await page.get_by_role("slider", name="Popularity penalty").evaluate(
        """slider => [0.1, 0.2, 0.3, 0.4].forEach(value => {
            slider.value = value;
            slider.dispatchEvent(new Event("input"));
        })"""
    )
    await settled(page)
    assert [body["popularity_penalty"] for body in asked] == [0.4]
    assert await shown(page) == await answered(page, popularity_penalty=0.4)


async def test_chance_can_be_drawn_again_and_is_the_same_for_the_same_address(
    page: Page, open_page: OpenPage
) -> None:
    await pick_three(page)
    again = page.get_by_role("button", name="Draw again")
    await expect(again).to_be_hidden()
    await page.get_by_role("slider", name="Exploration").fill("2")
    await settled(page)
    first = await shown(page)
    assert first == await answered(page, exploration=2, seed=1)
    await again.click()
    await settled(page)
    assert await shown(page) == await answered(page, exploration=2, seed=2)
    assert await shown(page) != first
    other = await open_page(path=f"#{page.url.split('#')[1]}")
    await settled(other)
    assert await shown(other) == await shown(page)


async def test_a_dislike_takes_an_item_away_and_can_be_taken_back(page: Page) -> None:
    await pick_three(page)
    asked = listen(page)
    before = await shown(page)
    button = page.get_by_role("button", name=f"Dislike {before[0]}", exact=True)
    await button.press("Enter")
    await settled(page)
    assert before[0] not in await shown(page)
    assert len(asked[-1]["dislikes"]) == 1
    assert await page.locator("#dislikes [data-slot=label]").all_text_contents() == [before[0]]
    heir = (await shown(page))[0]
    await expect(page.get_by_role("button", name=f"Dislike {heir}", exact=True)).to_be_focused()
    await page.get_by_role("button", name=f"No longer dislike {before[0]}").click()
    await settled(page)
    assert await shown(page) == before
    await expect(page.locator("#disliked")).to_be_hidden()


async def test_the_keyboard_adds_one_after_the_other_from_the_same_place(page: Page) -> None:
    for _ in range(3):
        top = (await shown(page))[0]
        button = page.get_by_role("button", name=f"Add {top} to your picks", exact=True)
        await button.press("Enter")
        await settled(page)
        heir = page.get_by_role("button", name=f"Add {(await shown(page))[0]} to your picks")
        await expect(heir).to_be_focused()
    await expect(page.locator("#status")).to_contain_text("From 3 picks")


async def test_what_is_picked_is_disliked_no_longer(page: Page) -> None:
    await page.get_by_role("button", name="Dislike Amber Island").click()
    await expect(page.locator("#dislikes li")).to_have_count(1)
    await page.get_by_role("combobox").fill("amber island")
    await page.get_by_role("option").first.wait_for()
    await page.keyboard.press("Enter")
    await expect(page.locator("#dislikes li")).to_have_count(0)
    assert await page.locator("#picks [data-slot=label]").all_text_contents() == ["Amber Island"]


async def test_a_category_is_asked_for_then_kept_away_then_free_again(page: Page) -> None:
    await pick_three(page)
    chip = page.get_by_role("button", name="Comedy")
    for name, categories in (
        ("Comedy: only these", {"any": ["Comedy"]}),
        ("Comedy: none of these", {"none": ["Comedy"]}),
        ("Comedy", None),
    ):
        await chip.press("Enter")
        await expect(chip).to_have_accessible_name(name)
        await expect(chip).to_be_focused()
        await settled(page)
        assert await shown(page) == await answered(page, categories=categories)


async def test_the_most_popular_titles_keep_to_the_categories_and_to_no_slider(page: Page) -> None:
    await page.get_by_role("button", name="Comedy").click()
    await page.get_by_role("slider", name="Diversity").fill("0.3")
    await settled(page)
    assert await shown(page) == await answered(page, history=[], categories={"any": ["Comedy"]})
    notice = page.locator("#notice")
    await expect(notice).to_contain_text("the most popular titles of your categories")
    await expect(notice).to_contain_text("the sliders do not move them")


async def test_one_button_leads_back_to_the_list_of_the_model(page: Page) -> None:
    await pick_three(page)
    await page.get_by_role("slider", name="Diversity").fill("1")
    await page.get_by_role("button", name="Sea").click()
    await settled(page)
    await page.get_by_role("button", name="Back to the model").press("Enter")
    await settled(page)
    assert await shown(page) == await answered(page)
    await expect(page.get_by_role("slider", name="Diversity")).to_have_value("0")
    await expect(page.locator("#tune > summary")).to_be_focused()


async def test_an_answer_to_older_settings_is_never_shown(page: Page, address: str) -> None:
    await pick_three(page)
    moved = asyncio.Event()

    async def hold_the_first(route: Route) -> None:
        if json.loads(route.request.post_data or "")["diversity"] == 1:
            await moved.wait()
        await route.continue_()

    await page.route(f"{address}recommend", hold_the_first)
    slider = page.get_by_role("slider", name="Diversity")
    async with page.expect_request(f"{address}recommend"):
        await slider.fill("1")
    await slider.fill("0.2")
    await settled(page)
    moved.set()
    await page.wait_for_timeout(100)
    assert await shown(page) == await answered(page, diversity=0.2)


async def test_an_answer_that_comes_while_a_slider_still_moves_is_not_shown(
    page: Page, address: str
) -> None:
    await pick_three(page)
    before = await shown(page)
    moves = asyncio.Event()

    async def hold(route: Route) -> None:
        await moves.wait()
        await route.continue_()

    await page.route(f"{address}recommend", hold)
    slider = page.get_by_role("slider", name="Diversity")
    async with page.expect_request(f"{address}recommend"):
        await slider.fill("1")
    await page.evaluate("window.setTimeout = () => 0")  # it never comes to rest
    await slider.fill("0.9")
    moves.set()
    await page.wait_for_timeout(200)
    await expect(page.locator("#results")).to_have_attribute("aria-busy", "true")
    assert await shown(page) == before


async def test_what_the_model_has_nothing_for_is_not_offered_and_is_said(
    open_page: OpenPage, linear_address: str
) -> None:
    page = await open_page(at=linear_address, viewport={"width": 1280, "height": 800})
    await pick_three(page)
    for name in ("Diversity", "Exploration"):
        await expect(page.get_by_role("slider", name=name)).to_be_hidden()
    await expect(page.get_by_role("slider", name="Popularity penalty")).to_be_visible()
    await expect(page.get_by_role("slider", name="Calibration")).to_be_visible()
    await expect(page.locator("#steer")).to_be_hidden()
    await expect(page.locator("#refused")).to_have_text(
        "Not with this model: diversity, exploration."
    )
    assert await shown(page) == await answered(page)


async def test_calibration_moves_the_list(page: Page) -> None:
    await pick_three(page)
    await page.get_by_role("slider", name="Calibration").fill("0.9")
    await settled(page)
    assert await shown(page) == await answered(page, calibration=0.9)
    assert await shown(page) != await answered(page)


async def test_a_link_does_not_ask_for_what_the_model_has_nothing_for(
    open_page: OpenPage, linear_address: str
) -> None:
    page = await open_page(at=linear_address, path="#pick=film-2&exploration=1&steer=0:2")
    await expect(page.locator("#status")).to_contain_text("From 1 pick in")
    await expect(page).to_have_url(f"{linear_address}#pick=film-2")
    await page.evaluate("location.hash = 'pick=film-3&exploration=1'")
    await expect(page.locator("#picks")).to_have_text(re.compile("Amber Lantern"))
    await settled(page)
    await expect(page.get_by_role("alert")).to_be_hidden()
    await expect(page.locator("#exploration")).to_have_value("0")


@pytest.mark.parametrize("control", ["Diversity", "Dimension"])
async def test_a_control_that_is_refused_all_the_same_goes_away(
    page: Page, address: str, complaints: list[str], control: str
) -> None:
    """Another model may have taken over since the page asked what this one can do."""
    field = {"Diversity": "diversity", "Dimension": "steer"}[control]

    async def refuse(route: Route) -> None:
        if field not in json.loads(route.request.post_data or ""):
            await route.continue_()
            return
        problem = {"type": "/problems/unsupported-control", "title": "No", "pointer": f"/{field}"}
        await route.fulfill(status=422, json=problem, content_type="application/problem+json")

    await pick_three(page)
    await page.route(f"{address}recommend", refuse)
    await page.locator("#steer").evaluate("steer => { steer.open = true; }")
    slider = page.get_by_role("slider", name=control).first
    await slider.focus()
    await page.keyboard.press("ArrowRight")
    await expect(slider).to_be_hidden()
    await expect(page.locator("#tune > summary")).to_be_focused()
    await settled(page)
    assert await shown(page) == await answered(page)
    assert "422" in complaints.pop()


async def test_a_model_that_knows_no_likeness_still_hides_what_is_disliked(
    open_page: OpenPage, linear_address: str
) -> None:
    page = await open_page(at=linear_address)
    await pick_three(page)
    first = (await shown(page))[0]
    await page.get_by_role("button", name=f"Dislike {first}", exact=True).click()
    await expect(page.locator("#notice")).to_contain_text("only stay off the list themselves")
    await settled(page)
    assert first not in await shown(page)


async def test_a_catalogue_without_categories_and_titles_offers_none(
    open_page: OpenPage, bare_address: str
) -> None:
    page = await open_page(at=bare_address, viewport={"width": 1280, "height": 800})
    await page.locator("#suggestions button").first.click()
    await expect(page.locator("#status")).to_contain_text("From 1 pick in")
    await expect(page.get_by_role("slider", name="Diversity")).to_be_visible()
    await expect(page.locator("#categories")).to_be_hidden()

"""The pages work under the policy that they are served with, which forbids all else."""

from collections.abc import Awaitable, Callable

import pytest
from playwright.async_api import Page, Route

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

OpenPage = Callable[..., Awaitable[Page]]


async def test_the_api_reference_shows_every_route_and_asks_the_service(
    open_page: OpenPage,
) -> None:
    page = await open_page(path="docs")
    await page.locator(".opblock").first.wait_for()
    assert await page.locator(".opblock").count() >= 8
    await page.locator(".btn.authorize").click()
    assert await page.locator(".auth-container").count() == 2
    await page.locator(".btn-done").first.click()
    await page.locator("#operations-default-livez_livez_get .opblock-summary").click()
    await page.locator(".try-out__btn").click()
    await page.locator(".btn.execute").click()
    answer = page.locator(".live-responses-table tbody .response-col_description").first
    await answer.wait_for()
    assert "alive" in await answer.inner_text()


@pytest.mark.parametrize("path", ["", "docs"])
async def test_a_script_that_was_smuggled_into_a_page_does_not_run(
    open_page: OpenPage, complaints: list[str], path: str
) -> None:
    page = await open_page(path=path)
    await page.evaluate(
        """() => {
            const smuggled = document.createElement("script");
            smuggled.textContent = "document.title = 'owned'";
            document.body.append(smuggled);
        }"""
    )
    assert await page.title() != "owned"
    assert [text for text in complaints if "Content Security Policy" in text]
    complaints.clear()


async def test_no_page_stands_in_a_frame(
    open_page: OpenPage, address: str, complaints: list[str]
) -> None:
    page = await open_page(path="livez")
    await page.evaluate(
        """address => new Promise(resolve => {
            const frame = document.createElement("iframe");
            frame.src = address;
            frame.onload = resolve;
            document.body.append(frame);
        })""",
        address,
    )
    assert await page.frames[1].locator("#results").count() == 0
    assert [text for text in complaints if "frame-ancestors" in text]
    complaints.clear()


async def test_where_keys_are_set_the_page_asks_for_one_and_sends_it(
    open_page: OpenPage, address: str, complaints: list[str]
) -> None:
    page = await open_page()
    await page.locator("#results li").first.wait_for()

    async def want_key(route: Route) -> None:
        if route.request.headers.get("x-api-key") == "k3y":
            await route.continue_()
            return
        refusal = {"title": "A key is needed", "detail": "the request has none", "status": 401}
        await route.fulfill(status=401, json=refusal, content_type="application/problem+json")

    for path in ("recommend", "items*", "models"):
        await page.route(f"{address}{path}", want_key)
    await page.locator("#suggestions button").first.click()
    await page.locator("#failure").wait_for()
    assert await page.locator("#failure-title").inner_text() == "A key is needed"
    await page.locator("#key").fill(" k3y ")
    await page.locator("#key").press("Enter")
    await page.locator("#results li").first.wait_for()
    assert await page.locator("#failure").is_hidden()
    complaints.clear()  # of the 401

"""The playground: the files of one folder as pages, its index.html at /."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, final

from fastapi import APIRouter, Request, Response
from fastapi.staticfiles import StaticFiles

INDEX: Final = "index.html"
# Nothing but what is named: no frame around the page, no form, no address of another host.
BASE_POLICY: Final = (
    "default-src 'none'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
POLICY: Final = f"{BASE_POLICY}; script-src 'self'; style-src 'self'; img-src 'self'"


@final
class PageLabel:
    """What log and metrics call every file of a page: one label for all of them."""

    path_format = "page"


PAGE: Final = PageLabel()


def page_headers(policy: str) -> dict[str, str]:
    """Give the headers of a page that runs scripts."""
    return {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"}


def pages(folder: Path) -> APIRouter:
    """Make one route per file.

    A mount of the folder at / would be shorter, and would swallow every path that no route has:
    a GET of a POST route would be a 404 about a missing file.
    """
    router = APIRouter(include_in_schema=False)
    files = StaticFiles(directory=folder)
    for path in sorted(folder.iterdir()):
        route = "/" if path.name == INDEX else f"/{path.name}"
        router.add_api_route(route, _page(files, path.name), methods=["GET", "HEAD"])
    return router


def _page(files: StaticFiles, name: str) -> Callable[[Request], Awaitable[Response]]:
    async def page(request: Request) -> Response:
        request.scope["route"] = PAGE
        response = await files.get_response(name, request.scope)
        response.headers.update(page_headers(POLICY))
        return response

    return page

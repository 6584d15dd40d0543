"""The playground: the files of one folder as pages, its index.html at /."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.staticfiles import StaticFiles

INDEX = "index.html"


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
        return await files.get_response(name, request.scope)

    return page

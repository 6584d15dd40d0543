"""The page of the API reference: Swagger UI out of the package, under a policy of its own."""

import base64
import hashlib
import re
from typing import Final

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse

from service.api.pages import BASE_POLICY, page_headers

router = APIRouter(include_in_schema=False)

# Where fastapi-offline mounts the files of Swagger UI.
ASSETS: Final = "/static-offline-docs"
INLINE_SCRIPT: Final = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


@router.get("/docs")
async def documentation(request: Request) -> HTMLResponse:
    """Show what the OpenAPI document says, and let people try it."""
    root = request.scope.get("root_path", "")
    page = get_swagger_ui_html(
        openapi_url=f"{root}{request.app.openapi_url}",
        title=f"{request.app.title}: API reference",
        swagger_js_url=f"{root}{ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{root}{ASSETS}/swagger-ui.css",
        swagger_favicon_url=f"{root}{ASSETS}/favicon.png",
    )
    page.headers.update(page_headers(_policy(bytes(page.body))))
    return page


def _policy(html: bytes) -> str:
    """Allow the scripts that stand in the page by their digests, and Swagger's own styles."""
    digests = [hashlib.sha256(script).digest() for script in INLINE_SCRIPT.findall(html)]
    allowed = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"{BASE_POLICY}; script-src 'self' {allowed}; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data:"
    )

"""Who may ask: API keys with scopes, checked before anything of a request is read.

A key comes as ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``; the settings hold its sha256
alone, so that who reads the settings cannot ask. That is safe for keys that nobody can guess:

    python -c "import hashlib, secrets; key = secrets.token_urlsafe(32);
    print(key, hashlib.sha256(key.encode()).hexdigest())"
"""

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal, Self, TypeAlias, final

from fastapi import Request
from starlette.types import Scope

from service.api.bodies import header
from service.api.problems import ForbiddenError, UnauthenticatedError

AccessScope: TypeAlias = Literal["recommend", "admin"]

BEARER: Final = b"bearer "
AUTHORIZATION: Final = b"authorization"
KEY_HEADER: Final = b"x-api-key"
NO_KEY: Final = b""


@final
@dataclass(frozen=True, slots=True, repr=False)
class AccessKeys:
    """The keys that open the service, as the sha256 digests of them.

    Attributes:
        recommend: May ask. Without any everybody may.
        admin: May ask, and exchange the model. Without any nobody may exchange it.
    """

    recommend: tuple[bytes, ...] = ()
    admin: tuple[bytes, ...] = ()

    @classmethod
    def of_hex(cls, recommend: Iterable[str], admin: Iterable[str]) -> Self:
        """Take digests as the settings have them, 64 hex digits each."""
        return cls(tuple(map(bytes.fromhex, recommend)), tuple(map(bytes.fromhex, admin)))

    def require(self, scope: Scope, name: AccessScope) -> None:
        """Let a request pass that has a key for what it wants; costs 2 us with two keys.

        Args:
            scope: Of the request; nothing but its headers is read.
            name: What the request wants.

        Raises:
            UnauthenticatedError: A key is needed, and there is none, or one that nobody gave out.
            ForbiddenError: The key is not for this, or no key that is set would be.
        """
        if name == "recommend" and not self.recommend:
            return
        if name == "admin" and not self.admin:
            raise ForbiddenError("the model cannot be exchanged over HTTP: no admin key is set")
        key = _key(scope)
        if not key:
            raise UnauthenticatedError("this needs a key, and the request has none")
        digest = hashlib.sha256(key).digest()
        is_admin = _is_one_of(self.admin, digest)
        may_ask = _is_one_of(self.recommend, digest)
        if not (is_admin or may_ask):
            raise UnauthenticatedError("the key of the request opens nothing here")
        if name == "admin" and not is_admin:
            raise ForbiddenError("this needs a key of the scope admin")


def require_scope(name: AccessScope) -> Callable[[Request], Awaitable[None]]:
    """Make the dependency of a route, or of a router, that lets in who has the key.

    ``APIRouter(dependencies=[Depends(require_scope("admin"))])``
    """

    async def check(request: Request) -> None:
        keys: AccessKeys = request.app.state.service.keys
        keys.require(request.scope, name)

    return check


def _key(scope: Scope) -> bytes:
    given = header(scope, AUTHORIZATION)
    if given:
        return given[len(BEARER) :].strip() if given[: len(BEARER)].lower() == BEARER else NO_KEY
    return header(scope, KEY_HEADER)


def _is_one_of(digests: tuple[bytes, ...], digest: bytes) -> bool:
    # All of them, and each to its end: how long it takes tells nothing of where they differ.
    found = False
    for known in digests:
        found |= hmac.compare_digest(known, digest)
    return found

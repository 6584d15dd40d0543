"""Where Redis is: a URL, read and checked before anything is opened."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Self, final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from service.errors import SettingsError

Kind = Literal["server", "socket", "sentinel", "cluster"]

KINDS: Final[dict[str, tuple[Kind, bool]]] = {
    "redis": ("server", False),
    "rediss": ("server", True),
    "unix": ("socket", False),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}
PORTS: Final[dict[Kind, int]] = {"server": 6379, "socket": 0, "sentinel": 26379, "cluster": 6379}
TLS_OPTIONS: Final = frozenset(
    {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"}
)
# Of the client's options only what an operator has a use for: others (decode_responses, timeouts)
# would undo what the store relies on.
OPTIONS: Final = TLS_OPTIONS | {
    "client_name", "db", "username", "password", "sentinel_username", "sentinel_password",
}  # fmt: skip
EXPECTED: Final = (
    "redis[s]://[user:password@]host[:port][/database], unix:///path, "
    "redis[s]+sentinel://[user:password@]host:port,host:port/name[/database] "
    "or redis[s]+cluster://[user:password@]host:port,host:port"
)


@final
@dataclass(frozen=True, slots=True)
class RedisAddress:
    """What a URL says.

    Attributes:
        kind: One server, the socket of one, sentinels that know the server, or a cluster.
        uses_tls: Also towards sentinels.
        endpoints: Hosts and ports; of sentinels and clusters some of them. None of a socket.
        name: Path of the socket, or what the sentinels call their server.
        database: Number.
        login: ``username`` and ``password`` for Redis, as far as given.
        sentinel_login: The same for the sentinels themselves.
        options: ``client_name`` and those of TLS, under the client's names.
    """

    kind: Kind
    uses_tls: bool
    endpoints: tuple[tuple[str, int], ...]
    name: str
    database: int
    login: Mapping[str, str] = field(repr=False)
    sentinel_login: Mapping[str, str] = field(repr=False)
    options: Mapping[str, str | bool]

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read a URL.

        Raises:
            SettingsError: It cannot be used. The message repeats nothing of it: what is wrong may
                be a piece of the password.
        """
        try:
            return cls._of(urlsplit(url))
        except ValueError as error:
            # Python's own messages quote the URL.
            reason = str(error) if isinstance(error, _WrongUrlError) else "it is no URL"
        message = f"the Redis URL cannot be used: {reason}; expected {EXPECTED}"
        raise SettingsError(message)

    @classmethod
    def _of(cls, parts: SplitResult) -> Self:
        if parts.scheme not in KINDS:
            raise _WrongUrlError("its scheme is not known")
        if parts.fragment:
            raise _WrongUrlError("it has a #, which a password must write as %23")
        kind, uses_tls = KINDS[parts.scheme]
        userinfo, _, hosts = parts.netloc.rpartition("@")
        endpoints = () if kind == "socket" else _endpoints(hosts, kind)
        options = _options(parts.query)
        name, database = _name_and_database(kind, unquote(parts.path), options.pop("db", ""))
        username, _, password = userinfo.partition(":")
        login = {
            "username": options.pop("username", unquote(username)),
            "password": options.pop("password", unquote(password)),
        }
        sentinel_login = {
            "username": options.pop("sentinel_username", ""),
            "password": options.pop("sentinel_password", ""),
        }
        if not uses_tls and not TLS_OPTIONS.isdisjoint(options):
            raise _WrongUrlError("it has options of TLS, but its scheme is not rediss")
        return cls(
            kind=kind,
            uses_tls=uses_tls,
            endpoints=endpoints,
            name=name,
            database=database,
            login={part: text for part, text in login.items() if text},
            sentinel_login={part: text for part, text in sentinel_login.items() if text},
            options=_typed(options),
        )


@final
class _WrongUrlError(ValueError):
    """Says what is wrong, in words of ours."""


def _options(query: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    if not OPTIONS.issuperset(options):
        # Not which: an unescaped ? in a password makes an option of its rest.
        raise _WrongUrlError(f"it has another option than {', '.join(sorted(OPTIONS))}")
    return options


def _typed(options: dict[str, str]) -> dict[str, str | bool]:
    if options.get("ssl_cert_reqs", "none") not in {"none", "optional", "required"}:
        raise _WrongUrlError("ssl_cert_reqs is none, optional or required")
    typed: dict[str, str | bool] = dict(options)
    if "ssl_check_hostname" in options:
        text = options["ssl_check_hostname"].lower()
        if text not in {"true", "false"}:
            raise _WrongUrlError("ssl_check_hostname is true or false")
        typed["ssl_check_hostname"] = text == "true"
    return typed


def _name_and_database(kind: Kind, path: str, db_option: str) -> tuple[str, int]:
    name, database = "", path.strip("/")
    if kind == "socket":
        name, database = path, ""
    elif kind == "sentinel":
        name, _, database = path.strip("/").partition("/")
    if kind in {"socket", "sentinel"} and not name:
        raise _WrongUrlError("it has no path" if kind == "socket" else "it has no name")
    database = db_option or database or "0"
    if not (database.isascii() and database.isdigit()):
        raise _WrongUrlError("the database is no number")
    if kind == "cluster" and int(database):
        raise _WrongUrlError("a cluster has no database but 0")
    return name, int(database)


def _endpoints(hosts: str, kind: Kind) -> tuple[tuple[str, int], ...]:
    endpoints: list[tuple[str, int]] = []
    for host in hosts.split(","):
        part = urlsplit(f"//{host}")
        if not part.hostname:
            raise _WrongUrlError(
                "a host is missing (a password has %40 for @, %2F for /, %3F for ?)"
            )
        try:
            port = part.port
        except ValueError:
            raise _WrongUrlError("a port is no number up to 65535") from None
        endpoints.append((unquote(part.hostname), port or PORTS[kind]))
    if kind == "server" and len(endpoints) > 1:
        raise _WrongUrlError("several hosts need +sentinel or +cluster")
    return tuple(endpoints)

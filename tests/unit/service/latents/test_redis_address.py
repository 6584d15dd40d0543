from contextlib import suppress
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import SettingsError
from service.latents.redis_address import RedisAddress
from service.latents.redis_store import RedisStore
from service.settings import Settings

PASSWORD = "hush"  # noqa: S105 - of no server


@pytest.mark.parametrize(
    ("url", "kind", "endpoints", "name", "database"),
    [
        ("redis://redis", "server", (("redis", 6379),), "", 0),
        ("redis://[::1]:7/3", "server", (("::1", 7),), "", 3),
        ("rediss://redis/?db=4", "server", (("redis", 6379),), "", 4),
        ("unix:///run/redis.sock?db=2", "socket", (), "/run/redis.sock", 2),
        ("redis+sentinel://a,b:1/films", "sentinel", (("a", 26379), ("b", 1)), "films", 0),
        ("rediss+sentinel://a:2/films/5", "sentinel", (("a", 2),), "films", 5),
        ("redis+cluster://a,b:1", "cluster", (("a", 6379), ("b", 1)), "", 0),
        ("rediss+cluster://a/0", "cluster", (("a", 6379),), "", 0),
    ],
)
def test_a_url_says_where_redis_is(
    url: str, kind: str, endpoints: tuple[tuple[str, int], ...], name: str, database: int
) -> None:
    address = RedisAddress.parse(url)
    assert address.kind == kind
    assert address.uses_tls == url.startswith("rediss")
    assert address.endpoints == endpoints
    assert (address.name, address.database) == (name, database)
    assert (address.login, address.sentinel_login, address.options) == ({}, {}, {})


def test_logins_and_options_are_read() -> None:
    url = (
        "rediss+sentinel://me:p%40ss@a/films?sentinel_username=you&sentinel_password=hm"
        "&ssl_cert_reqs=none&ssl_check_hostname=False&client_name=foldin"
    )
    address = RedisAddress.parse(url)
    assert address.login == {"username": "me", "password": "p@ss"}
    assert address.sentinel_login == {"username": "you", "password": "hm"}
    assert address.options == {
        "ssl_cert_reqs": "none",
        "ssl_check_hostname": False,
        "client_name": "foldin",
    }
    assert "p@ss" not in repr(address)
    assert RedisAddress.parse("unix:///s?password=x").login == {"password": "x"}


WRONG = {
    "": "scheme",
    "localhost": "scheme",
    f"http://:{PASSWORD}@localhost": "scheme",
    "redis://": "a host is missing",
    f"redis://:{PASSWORD}@": "a host is missing",
    f"redis://:{PASSWORD}/more@localhost:6379": "a host is missing",
    f"redis://{PASSWORD}:x/more@localhost:6379": "a port is no number",
    f"redis://:{PASSWORD}@localhost:99999": "a port is no number",
    f"redis://:{PASSWORD}@[localhost": "no URL",
    f"redis://:a#{PASSWORD}@localhost": "%23",
    f"redis://:a?{PASSWORD}@localhost": "%3F",
    f"redis://a?{PASSWORD}": "no URL",
    f"redis://:{PASSWORD}@localhost/films": "the database is no number",
    f"redis://:{PASSWORD}@localhost?db=-1": "the database is no number",
    f"redis://:{PASSWORD}@localhost?no_such_option=1": "another option than",
    f"redis://:{PASSWORD}@localhost?socket_timeout=soon": "another option than",
    f"redis://:{PASSWORD}@localhost?decode_responses=true": "another option than",
    f"redis://:{PASSWORD}@a,b": "several hosts",
    f"redis://:{PASSWORD}@a?ssl_cert_reqs=none": "not rediss",
    f"rediss://:{PASSWORD}@a?ssl_cert_reqs=maybe": "none, optional or required",
    f"rediss://:{PASSWORD}@a?ssl_check_hostname=1": "true or false",
    f"redis+sentinel://:{PASSWORD}@a:1": "no name",
    f"redis+sentinel://:{PASSWORD}@a:1/films/x": "the database is no number",
    f"redis+cluster://:{PASSWORD}@a/1": "no database but 0",
    f"unix://{PASSWORD}": "no path",
}


@pytest.mark.parametrize("url", WRONG)
def test_what_is_wrong_with_a_url_is_one_line_without_a_piece_of_it(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        RedisAddress.parse(url)
    message = str(caught.value)
    assert message.startswith("the Redis URL cannot be used: ")
    assert WRONG[url] in message
    assert PASSWORD not in message
    assert "\n" not in message
    assert caught.value.__context__ is None  # it would quote the URL


@pytest.mark.parametrize("url", WRONG)
def test_a_wrong_url_is_refused_with_the_other_settings(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^FOLDIN_REDIS_URL: the Redis URL") as caught:
        Settings(redis_url=url)
    assert PASSWORD not in str(caught.value)


def test_a_file_that_is_not_there_is_named_by_its_option() -> None:
    with pytest.raises(SettingsError, match="ssl_ca_certs names no file"):
        RedisStore("rediss://redis?ssl_ca_certs=/no/such/file", timeout_s=1, ttl_s=60)


@given(username=st.text(max_size=9), password=st.text(max_size=9))
def test_any_login_can_be_written_in_a_url(username: str, password: str) -> None:
    login = f"{quote(username, safe='')}:{quote(password, safe='')}"
    for scheme, rest in ("redis", ""), ("redis+sentinel", "/films"), ("redis+cluster", ""):
        address = RedisAddress.parse(f"{scheme}://{login}@host{rest}")
        assert address.login.get("username", "") == username
        assert address.login.get("password", "") == password


@given(st.text(), st.sampled_from(["redis", "rediss", "unix", "redis+sentinel", "redis+cluster"]))
def test_any_text_is_an_address_or_an_error(text: str, scheme: str) -> None:
    for url in text, f"{scheme}://{text}", f"{scheme}://host/{text}", f"{scheme}://h?{text}":
        with suppress(SettingsError):
            assert RedisAddress.parse(url).kind

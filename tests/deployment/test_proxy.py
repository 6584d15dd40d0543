"""The proxy before the replicas: what nginx is told, and who tells it which replicas are ready."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from service.server import KEEP_ALIVE_S
from service.settings import Settings

ROOT = Path(__file__).parents[2]
NGINX = ROOT / "docker/nginx"
CONFIGURATION = (NGINX / "nginx.conf").read_text()
SCALE = yaml.safe_load((ROOT / "docker/compose.scale.yaml").read_text())
WAIT_S = 30.0
LOOK_S = 0.03

# In the place of the real ones; FAKES is a folder. Each answers out of a file there.
PROGRAMS = {
    "getent": 'while read -r address; do echo "$address STREAM $2"; done <"$FAKES/addresses"',
    "curl": 'for url; do :; done; echo asked >>"$FAKES/asked"; grep -qxF "$url" "$FAKES/ready"',
    "sleep": f"exec /bin/sleep {LOOK_S}",
    "nginx": """echo "$@" >"$FAKES/arguments"
told() {
  cat "$FAKES/replicas.conf" >>"$FAKES/told"
  [ ! -e "$FAKES/closing" ] || echo "# closing" >>"$FAKES/told"
  echo end >>"$FAKES/told"
}
told
trap told HUP
echo $$ >"$FAKES/nginx.pid"
while :; do /bin/sleep 0.01; done""",
}


def eventually(is_so: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


class Proxy:
    """replicas.sh at work, with replicas that are names in a file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has(self, found: list[str], ready: list[str]) -> None:
        self._write("addresses", found)
        self._write("ready", [f"http://{address}:8000/readyz" for address in ready])

    def told(self) -> list[list[str]]:
        """List the addresses that nginx was told, at first and each time after."""
        return [re.findall(r"^server ([\d.]+):8000 ", each, re.MULTILINE) for each in self._told()]

    def asked_callers_to_connect_anew(self) -> list[bool]:
        """Tell for each of these times whether busy callers had been asked to leave."""
        return ["# closing" in each for each in self._told()]

    def asks_callers_to_connect_anew(self) -> bool:
        return (self._folder / "closing").exists()

    def _told(self) -> list[str]:
        path = self._folder / "told"
        return path.read_text().split("end\n")[:-1] if path.exists() else []

    def looks_again(self) -> None:
        """Wait until all replicas were asked anew, twice."""
        asked = self._folder / "asked"
        before = asked.stat().st_size if asked.exists() else 0
        eventually(lambda: asked.exists() and asked.stat().st_size > before + 50)

    def arguments(self) -> str:
        return (self._folder / "arguments").read_text()

    def _write(self, name: str, lines: list[str]) -> None:
        staged = self._folder / f"{name}.new"
        staged.write_text("".join(f"{line}\n" for line in lines))
        staged.replace(self._folder / name)


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, body in PROGRAMS.items():
        program = programs / name
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
    script = tmp_path / "replicas.sh"
    script.write_text((NGINX / "replicas.sh").read_text().replace("/tmp/", f"{tmp_path}/"))  # noqa: S108 - what is replaced
    started = Proxy(tmp_path)
    started.has(["10.0.0.1", "10.0.0.2"], ready=["10.0.0.1", "10.0.0.2"])
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "FAKES": str(tmp_path)}
    process = subprocess.Popen(["sh", str(script)], env=environment, start_new_session=True)
    try:
        eventually(lambda: started.told() == [["10.0.0.1", "10.0.0.2"]])
        yield started
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_nginx_is_not_told_what_it_knows(proxy: Proxy) -> None:
    proxy.looks_again()
    assert len(proxy.told()) == 1


def test_a_replica_that_is_no_longer_ready_gets_nothing_more(proxy: Proxy) -> None:
    proxy.has(["10.0.0.1", "10.0.0.2"], ready=["10.0.0.2"])
    eventually(lambda: proxy.told()[1:] == [["10.0.0.2"]])


def test_a_replica_that_was_added_gets_requests_when_it_is_ready(proxy: Proxy) -> None:
    proxy.has(["10.0.0.1", "10.0.0.2", "10.0.0.3"], ready=["10.0.0.1", "10.0.0.2"])
    proxy.looks_again()
    assert len(proxy.told()) == 1
    proxy.has(["10.0.0.3", "10.0.0.1", "10.0.0.2"], ready=["10.0.0.1", "10.0.0.2", "10.0.0.3"])
    eventually(lambda: proxy.told()[1:] == [["10.0.0.1", "10.0.0.2", "10.0.0.3"]])


def test_busy_callers_are_asked_to_connect_anew_before_nginx_drops_idle_ones(proxy: Proxy) -> None:
    proxy.has(["10.0.0.1", "10.0.0.2"], ready=["10.0.0.1"])
    eventually(lambda: len(proxy.told()) == 2)
    assert proxy.asked_callers_to_connect_anew() == [False, True]
    eventually(lambda: not proxy.asks_callers_to_connect_anew())


@pytest.mark.parametrize("found", [["10.0.0.1", "10.0.0.2"], []], ids=["unready", "unknown"])
def test_when_none_is_ready_those_from_before_are_asked(proxy: Proxy, found: list[str]) -> None:
    proxy.has(found, ready=[])
    if found:
        proxy.looks_again()
    else:
        time.sleep(10 * LOOK_S)
    assert len(proxy.told()) == 1


def test_nginx_runs_in_the_place_of_the_script(proxy: Proxy) -> None:
    assert proxy.arguments().strip() == "-e stderr -c /etc/foldin/nginx.conf -g daemon off;"
    service = SCALE["services"]["proxy"]
    assert service["entrypoint"] == ["sh", "/etc/foldin/replicas.sh"]
    assert "./nginx:/etc/foldin:ro" in service["volumes"]


def block(opening: str) -> str:
    """Give what is between the braces of a block without blocks in it."""
    return CONFIGURATION.partition(f"{opening} {{\n")[2].partition("\n    }\n")[0]


def test_a_post_is_repeated_where_twice_is_the_same_as_once_only() -> None:
    assert "non_idempotent" in block("location = /recommend")
    assert CONFIGURATION.count("non_idempotent;") == 1
    assert "http_503" not in CONFIGURATION  # a refusal would come back as more load


def test_idle_connections_to_a_replica_are_closed_by_nginx_first() -> None:
    (kept_s,) = re.findall(r"^\s*keepalive_timeout (\d+)s;", CONFIGURATION, re.MULTILINE)
    assert int(kept_s) < KEEP_ALIVE_S
    assert 'proxy_set_header Connection "";' in CONFIGURATION
    assert "proxy_http_version 1.1;" in CONFIGURATION
    assert "least_conn;" in CONFIGURATION


def test_a_body_is_as_large_as_the_service_takes_and_an_answer_as_late() -> None:
    (mebibytes,) = re.findall(r"client_max_body_size (\d+)m;", CONFIGURATION)
    limits = Settings.model_fields
    assert int(mebibytes) * 1024 * 1024 == limits["max_body_bytes"].default
    (patience_s,) = re.findall(r"^  proxy_read_timeout (\d+)s;", CONFIGURATION, re.MULTILINE)
    assert int(patience_s) * 1000 > 2 * limits["deadline_ms"].default


def test_a_stream_of_rows_is_not_held_back() -> None:
    rows = block("location = /recommend/batch")
    assert "proxy_request_buffering off;" in rows
    assert "proxy_buffering off;" in rows


def test_nginx_writes_to_tmp_alone() -> None:
    written = re.findall(r"^\s*(?:pid|\w+_temp_path) (\S+);", CONFIGURATION, re.MULTILINE)
    assert len(written) == 6
    assert all(path.startswith("/tmp/") for path in written)  # noqa: S108 - a tmpfs of its own
    assert SCALE["services"]["proxy"]["read_only"] is True


def test_a_replica_drains_for_longer_than_the_proxy_takes_to_notice() -> None:
    grace = SCALE["services"]["api"]["environment"]["FOLDIN_DRAIN_GRACE_S"]
    (default_s,) = re.findall(r":-(\d+)\}", grace)
    assert int(default_s) >= 4  # a look a second, one for each dead replica, one before a reload


def test_the_configuration_is_one_that_nginx_takes(tmp_path: Path) -> None:
    if shutil.which("nginx") is None:
        pytest.skip("nothing reads it: apt-get install nginx-light")
    (tmp_path / "replicas.conf").write_text("server 127.0.0.1:1;\n")
    path = tmp_path / "nginx.conf"
    path.write_text(CONFIGURATION.replace("/tmp/", f"{tmp_path}/"))  # noqa: S108 - what is replaced
    command = ["nginx", "-t", "-e", "stderr", "-c", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

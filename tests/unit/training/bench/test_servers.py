"""Server processes are started, waited for and ended, whatever they do."""

import os
import time
from pathlib import Path

import pytest

from training.bench import servers
from training.bench.process_tree import tree
from training.bench.servers import Launch, ask, running
from training.errors import BadInputError

# A server with a child that would outlive it, and a variable that it answers.
CODE = (
    """
import http.server, os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        content = f"{child.pid} {os.environ.get('FOLDIN_PORT')} {os.environ.get('FOLDIN_X')}"
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content.encode())
http.server.HTTPServer(("127.0.0.1", {port}), Handler).serve_forever()
""".replace("{", "{{")
    .replace("}", "}}")
    .replace("{{port}}", "{port}")
)


def test_a_server_is_ready_when_it_comes_and_gone_with_its_children_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOLDIN_X", "of this shell")
    launch = Launch("small", ("-c", CODE), {"FOLDIN_PORT": "{port}"}, tmp_path / "log")
    with running(launch) as server:
        status, content = ask(server.port, "/readyz")
        child, port, other = content.decode().split()
        assert (status, port, other) == (200, str(server.port), "None")
        assert server.ready_s > 0
        assert int(child) in tree(server.pid)
    with pytest.raises(OSError, match="refused"):
        ask(server.port, "/readyz")
    time.sleep(0.05)
    status_file = Path(f"/proc/{child}/stat")
    # Gone, or dead and not yet collected by whoever inherited it.
    assert not status_file.exists() or ") Z " in status_file.read_text()


def test_a_server_that_ends_says_why(tmp_path: Path) -> None:
    launch = Launch("broken", ("-c", "raise SystemExit('no model')"), {}, tmp_path / "log")
    with pytest.raises(BadInputError, match="broken does not start: no model"), running(launch):
        pass


def test_a_server_that_never_gets_ready_is_given_up(tmp_path: Path) -> None:
    sleep = ("-c", "import time; time.sleep(60)")
    launch = Launch("slow", sleep, {}, tmp_path / "log", limit_s=0.2)
    with pytest.raises(BadInputError, match="slow does not start: no word"), running(launch):
        pass


def test_a_server_that_does_not_heed_a_signal_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "END_LIMIT_S", 0.2)
    deaf = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + CODE
    with running(Launch("deaf", ("-c", deaf), {}, tmp_path / "log")) as server:
        pass
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)

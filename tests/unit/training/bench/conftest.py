"""A small synthetic bundle, and a small server that says what it is told to say."""

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from service import checkpoint
from training.bench.subject import Subject
from training.bench.synthetic import Shape, write_bundle

SHAPE = Shape(items=400, hidden=24, latent=12)


@pytest.fixture(scope="session")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    path = write_bundle(SHAPE, tmp_path_factory.mktemp("bench"), seed=3)
    return Subject(path, checkpoint.load(path), is_synthetic=True)


class Server(ThreadingHTTPServer):
    """Takes many connections at once; with the default of 5, others wait for a second."""

    daemon_threads = True
    request_queue_size = 128


@pytest.fixture
def tiny_server() -> Iterator[Callable[[Callable[[int], int]], tuple[int, list[bytes]]]]:
    """Start servers: ``port, bodies = tiny_server(lambda number: 200)``; a GET gets nothing.

    The function is told the number of the request; it may sleep, and gives the status.
    """
    running: list[ThreadingHTTPServer] = []

    def start(answer: Callable[[int], int]) -> tuple[int, list[bytes]]:
        bodies: list[bytes] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else the body waits 40 ms for the head's ACK

            def do_POST(self) -> None:
                bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                status = answer(len(bodies))
                content = b'{"items":[]}'
                head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(content)}\r\n\r\n"
                self.wfile.write(head.encode())
                self.wfile.flush()
                time.sleep(0.001)  # head and body come apart, as they may
                self.wfile.write(content)

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base's name
                del format, arguments

        server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        running.append(server)
        return server.server_port, bodies

    yield start
    for server in running:
        server.shutdown()
        server.server_close()

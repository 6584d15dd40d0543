"""Our own client, against a small real server."""

import socket
import threading
import time
from collections.abc import Callable

import pytest

from training.bench import client
from training.bench.client import AsyncioClosedLoop, drive_open_loop
from training.bench.load import Target

Start = Callable[[Callable[[int], int]], tuple[int, list[bytes]]]
BODIES = (b'{"k":1}', b'{"k":2}')


def test_a_closed_loop_keeps_asking_and_rotates_over_the_bodies(tiny_server: Start) -> None:
    port, bodies = tiny_server(lambda _: 200)
    load = AsyncioClosedLoop().drive(Target(port, BODIES), connections=3, seconds=0.3)
    assert load.requests > 10
    assert load.errors == 0
    assert load.p50_ms >= 1.0
    assert load.p99_ms >= load.p50_ms
    assert set(bodies) == set(BODIES)


def test_answers_that_are_no_200_are_errors(tiny_server: Start) -> None:
    port, _ = tiny_server(lambda number: 503 if number == 2 else 200)
    load = drive_open_loop(Target(port, BODIES), connections=1, rate=100, seconds=0.1)
    assert (load.requests, load.errors) == (10, 1)


def test_a_connection_that_was_refused_service_is_not_asked_again(tiny_server: Start) -> None:
    port, bodies = tiny_server(lambda _: 500)
    load = AsyncioClosedLoop().drive(Target(port, BODIES), connections=2, seconds=0.2)
    assert len(bodies) == load.requests == load.errors == 2


def test_an_open_loop_sends_at_its_rate_whatever_the_server_does(tiny_server: Start) -> None:
    port, bodies = tiny_server(lambda _: 200)
    load = drive_open_loop(Target(port, BODIES), connections=8, rate=100, seconds=0.5)
    assert load.requests == len(bodies) == 50
    assert 0.45 < load.seconds < 2


def test_a_stall_costs_every_request_that_came_due_meanwhile(tiny_server: Start) -> None:
    def stall_once(number: int) -> int:
        time.sleep(0.3 if number == 5 else 0)
        return 200

    port, _ = tiny_server(stall_once)
    # One connection: 30 requests come due while the fifth is not answered. A client that waits
    # with the server would see one slow request of 50, and a median of a millisecond.
    load = drive_open_loop(Target(port, BODIES), connections=1, rate=100, seconds=0.5)
    assert load.requests == 50
    assert load.p50_ms > 20
    assert load.p99_ms > 250


def test_requests_that_are_never_answered_are_errors(
    tiny_server: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PATIENCE_S", 0.05)
    answered = threading.Event()

    def hang(number: int) -> int:
        if number == 3:
            answered.wait(2)
        return 200

    port, _ = tiny_server(hang)
    load = drive_open_loop(Target(port, BODIES), connections=1, rate=100, seconds=0.05)
    answered.set()
    assert (load.requests, load.errors) == (2, 3)


def test_a_server_that_hangs_up_is_an_error_and_the_next_requests_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            connection, _ = listener.accept()
            connection.recv(1)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        target = Target(listener.getsockname()[1], BODIES)
        load = drive_open_loop(target, connections=1, rate=50, seconds=0.2)
        thread.join()
    assert load.errors == load.requests == 10


def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nall")
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        target = Target(listener.getsockname()[1], BODIES)
        load = drive_open_loop(target, connections=1, rate=50, seconds=0.02)
        thread.join()
    assert (load.requests, load.errors) == (1, 1)

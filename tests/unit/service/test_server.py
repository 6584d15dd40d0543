"""The order of an end: drain, wait, take the last callers in. tests/degraded has it under load."""

import asyncio
import signal
import socket
import sys
import threading

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.server import CLOSE, RELOAD_SIGNAL, DrainingServer, Turns, on_reload_signal

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows accepts ahead")


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        raise RuntimeError("it has none")
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


class Desk:
    """A server on a clock of ours."""

    def __init__(self, grace_s: float) -> None:
        self.now_s = 100.0
        self.drains = 0
        config = uvicorn.Config(hello, port=0, http=HttpToolsProtocol, log_config=None)
        config.load()
        self.last_rows = asyncio.Event()
        turns = Turns(self.drain, self.last_rows.set)
        self.server = DrainingServer(config, grace_s, turns, lambda: self.now_s)

    def drain(self) -> None:
        self.drains += 1

    async def ends(self) -> bool:
        return await self.server.on_tick(1)


async def test_a_server_goes_on_for_its_grace_and_asks_callers_to_leave() -> None:
    desk = Desk(grace_s=5)
    assert not await desk.ends()
    desk.server.handle_exit(signal.SIGTERM, None)
    assert desk.drains == 1
    assert CLOSE in desk.server.server_state.default_headers
    assert not await desk.ends()
    desk.now_s += 5
    assert await desk.ends()


async def test_headers_that_are_set_anew_every_second_ask_callers_to_leave_too() -> None:
    desk = Desk(grace_s=5)
    desk.server.handle_exit(signal.SIGTERM, None)
    await desk.server.on_tick(0)
    assert CLOSE in desk.server.server_state.default_headers


async def test_who_is_being_answered_when_the_end_begins_is_asked_to_leave_too() -> None:
    desk = Desk(grace_s=5)
    await desk.server.on_tick(0)
    held = desk.server.server_state.default_headers  # by a request under way
    desk.server.handle_exit(signal.SIGTERM, None)
    assert held.count(CLOSE) == 1
    await desk.server.on_tick(0)
    assert desk.server.server_state.default_headers.count(CLOSE) == 1


async def test_a_second_signal_or_ctrl_c_waits_for_nothing() -> None:
    desk = Desk(grace_s=5)
    desk.server.handle_exit(signal.SIGTERM, None)
    desk.server.handle_exit(signal.SIGTERM, None)
    assert await desk.ends()
    assert desk.drains == 1
    impatient = Desk(grace_s=5)
    impatient.server.handle_exit(signal.SIGINT, None)
    assert await impatient.ends()


async def test_who_has_connected_but_is_not_accepted_yet_gets_an_answer() -> None:
    desk = Desk(grace_s=0)
    server = desk.server
    server.lifespan = server.config.lifespan_class(server.config)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    await server.startup([listener])
    caller = socket.create_connection(("127.0.0.1", port))  # the loop has had no turn to accept
    caller.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    await server.shutdown([listener])
    caller.settimeout(5)
    assert b"hello" in await asyncio.to_thread(caller.recv, 65536)
    caller.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


async def test_streams_are_told_when_their_last_rows_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.server.LAST_ROWS_S", 0.0)
    desk = Desk(grace_s=5)
    server = desk.server
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup([])
    server.handle_exit(signal.SIGTERM, None)
    await server.on_tick(1)
    assert not desk.last_rows.is_set()  # in the time of grace everything goes on
    await server.shutdown([])
    assert desk.last_rows.is_set()


@pytest.mark.skipif(RELOAD_SIGNAL is None, reason="Windows has no SIGHUP")
async def test_a_wish_for_a_reload_is_heard_while_somebody_listens() -> None:
    assert RELOAD_SIGNAL is not None
    before = signal.signal(RELOAD_SIGNAL, signal.SIG_IGN)
    asked = asyncio.Event()
    signal.pthread_sigmask(signal.SIG_BLOCK, {RELOAD_SIGNAL})
    signal.raise_signal(RELOAD_SIGNAL)  # held back, and ignored: nothing comes of it
    with on_reload_signal(asked.set):
        signal.raise_signal(RELOAD_SIGNAL)
        await asyncio.wait_for(asked.wait(), 5)
    assert signal.getsignal(RELOAD_SIGNAL) is signal.SIG_IGN
    signal.signal(RELOAD_SIGNAL, before)


async def test_outside_the_main_thread_nothing_listens() -> None:
    heard: list[int] = []

    def listen() -> None:
        with on_reload_signal(lambda: heard.append(1)):
            pass

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert heard == []

"""A change that fails is made again: soon or after a pause, and its failure is logged once."""

import asyncio
import errno
import logging

import pytest

from service.errors import CheckpointDigestError, CheckpointMissingError, ReloadRefusedError
from service.watch import every, may_pass


def caused(error: Exception, reason: Exception) -> Exception:
    error.__cause__ = reason
    return error


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (OSError(errno.EMFILE, "Too many open files"), True),
        (MemoryError(), True),
        (caused(CheckpointMissingError("x"), OSError(errno.EMFILE, "Too many")), True),
        (caused(CheckpointMissingError("x"), FileNotFoundError(errno.ENOENT, "No file")), False),
        (caused(CheckpointDigestError("x"), ValueError("x")), False),
        (CheckpointDigestError("x"), False),
    ],
)
def test_a_bundle_may_load_another_time_unless_it_is_wrong(error: Exception, passes: bool) -> None:
    assert may_pass(error) is passes


async def test_what_may_pass_is_tried_again_after_a_pause_and_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("service.watch.RETRY_S", 0.05)
    tries_s: list[float] = []

    async def change() -> None:
        tries_s.append(asyncio.get_running_loop().time())
        raise OSError(errno.ENOSPC, "No space left on device")

    watch = asyncio.create_task(every(0.001, change))
    while len(tries_s) < 3:  # noqa: ASYNC110 - nothing signals a try
        await asyncio.sleep(0.01)
    watch.cancel()
    assert tries_s[2] - tries_s[1] > 0.04
    assert caplog.messages == ["a change of the model failed"]


async def test_a_watch_survives_what_goes_wrong(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("service.watch.RETRY_S", 0.001)
    failures: list[Exception] = [OSError("disk full"), ReloadRefusedError(ValueError("x"))]
    looks = asyncio.Queue[int]()

    async def look() -> None:
        looks.put_nowait(len(failures))
        if failures:
            raise failures.pop(0)

    watch = asyncio.create_task(every(0.001, look))
    assert [await looks.get() for _ in range(4)] == [2, 1, 0, 0]
    watch.cancel()
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.message for record in errors] == ["a change of the model failed"]

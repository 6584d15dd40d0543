"""What a process makes of signals and of broken connections."""

import signal

import pytest
import torch
from torch import distributed

from training import torchrun
from training.distributed import Wish
from training.errors import ProcessLostError

GLOO_SAYS = (
    "[/src/gloo/transport/tcp/pair.cc:537] Read error [127.0.0.1]:28047: Connection reset by peer. "
    "This is typically caused by a remote worker hanging."
)


def test_a_first_ctrl_c_is_noted_and_a_second_one_ends_the_process() -> None:
    wish, before = Wish(), signal.getsignal(signal.SIGINT)
    with torchrun._signals(wish):
        signal.raise_signal(signal.SIGINT)
        assert wish.to_stop
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_what_torchrun_ends_says_so_in_one_line() -> None:
    line = r"torchrun ended this process.*--resume"
    with pytest.raises(ProcessLostError, match=line), torchrun._signals(Wish()):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError(GLOO_SAYS), r"\(Read error \[127.0.0.1\]:28047: Connection reset by peer\)"),
        (distributed.DistNetworkError("no answer\nC++ stack"), r"\(no answer\)"),
    ],
)
def test_a_broken_connection_is_named_without_what_is_of_no_use(
    error: RuntimeError, reason: str
) -> None:
    with pytest.raises(ProcessLostError, match=reason), torchrun._named_losses():
        raise error


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="a fault of ours"), torchrun._named_losses():
        raise RuntimeError("a fault of ours")


def test_each_process_takes_the_card_of_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert torchrun._backend() == "cpu:gloo,cuda:nccl"
    assert taken == [3]


def test_without_a_card_all_goes_through_gloo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert torchrun._backend() == "gloo"

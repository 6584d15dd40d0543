"""Where tensors live: the one reading of ``auto``, ``cpu`` and ``cuda``, and the way there.

To and from a CUDA device, tensors pass through pinned memory: the host queues the copy and goes
on, and waits once, for the results of the whole batch.
"""

import torch
from torch import Tensor

from service.errors import SettingsError


def pick_device(wish: str) -> torch.device:
    """Turn ``auto``, ``cpu`` or ``cuda`` into a device; auto prefers CUDA.

    Raises:
        SettingsError: CUDA is asked for, and torch sees none.
    """
    has_cuda = torch.cuda.is_available()
    if wish == "cuda" and not has_cuda:
        raise SettingsError("the device is cuda, but torch sees no CUDA device; say cpu or auto")
    return torch.device("cuda" if has_cuda and wish != "cpu" else "cpu")


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Move a tensor; one that is there already stays as it is."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()  # kept by the allocator until the copy is through
    return tensor.to(device, non_blocking=device.type == "cuda")


def to_host(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Bring tensors of one device to the CPU; those that are there already stay as they are."""
    if not tensors[0].is_cuda:
        return tensors
    hosts = tuple(torch.empty(t.shape, dtype=t.dtype, pin_memory=True) for t in tensors)
    for host, tensor in zip(hosts, tensors, strict=True):
        host.copy_(tensor, non_blocking=True)
    torch.cuda.current_stream(tensors[0].device).synchronize()
    return hosts

"""Where tensors live: the one reading of ``auto``, ``cpu`` and ``cuda``."""

import torch

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

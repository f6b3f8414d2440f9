"""What every test gets: no network, no screen, no settings of the person who runs it, seeded random numbers."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch

matplotlib.use("Agg")
torch.set_num_threads(1)  # the tensors of tests are too small to share, above all on a busy machine
LOOPBACK = ("127.0.0.1", "::1", "localhost")
SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets that leave the machine raise: a test that needs the network is no test."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family != getattr(socket, "AF_UNIX", None) and address[0] not in LOOPBACK:
            raise OSError(f"tests have no network, and this one asked for {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Defaults only, whatever the shell has set."""
    for name in [name for name in os.environ if name.startswith("REIDKIT_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def shared() -> Path:
    """The folder with the real data; the test is skipped where it is not on this machine."""
    if not SHARED.is_dir():
        pytest.skip(f"the real data of {SHARED} is not on this machine")
    return SHARED

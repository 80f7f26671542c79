"""How much of a GPU a process keeps; the GPU's own answers are pretended, torch's calls are not."""

from types import SimpleNamespace

import pytest
import torch

from jobs.gpu import CONTEXT_BYTES, give_back_memory, keep_to_share, try_gpu


@pytest.mark.parametrize(
    ("total_bytes", "share", "fraction"),
    [
        (10 * CONTEXT_BYTES, 1.0, 1.0),
        (10 * CONTEXT_BYTES, 2.0, 1.0),
        (10 * CONTEXT_BYTES, 0.5, 0.4),
        (2 * CONTEXT_BYTES, 0.5, 0.25),
    ],
)
def test_a_share_leaves_room_for_what_is_no_tensor(
    total_bytes: int, share: float, fraction: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[float] = []
    there = SimpleNamespace(total_memory=total_bytes)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: there)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", said.append)
    keep_to_share(share)
    assert said == [pytest.approx(fraction)]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_trying_says_so_and_nothing_is_given_back() -> None:
    with pytest.raises((RuntimeError, AssertionError), match=r"NVIDIA|CUDA"):
        try_gpu()
    give_back_memory()

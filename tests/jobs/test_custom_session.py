"""One conversation with a sandbox: what may come out at once, and an end that nobody planned."""

from pathlib import Path

import pytest
import torch

from jobs.checkpoint import pack
from jobs.custom.answers import largest_state_bytes
from jobs.custom.sandbox import Sandbox
from jobs.errors import SandboxError, TeamCodeError, TeamCodeTooLarge
from jobs.monkeynet import build_model
from jobs.plan import CustomPlan, MemberPlan, ModelPlan, SandboxRules
from jobs.training_state import TrainingState
from tests.jobs.hostile import FORGED, NETWORK, Attempt


@pytest.mark.parametrize("memory_mib", [512, 4096])
def test_the_games_own_networks_fit_through_the_channel(memory_mib: int, plan: MemberPlan) -> None:
    """Five turbo boosts are in everybody's budget; a team's own networks have the limit."""
    model = ModelPlan(turbo_blocks=5)
    data = plan.data.model_copy(update={"image_size_px": 64})
    loss = CustomPlan(
        file="loss.py", source="def build_loss(weights): ...", defines=("build_loss",)
    )
    large = plan.model_copy(update={"model": model, "data": data, "custom": loss})
    rules = SandboxRules(memory_mib=memory_mib)
    network = build_model(model, len(data.classes), 64)
    state = TrainingState.start(large, 1, 2, 3, network)
    for parameter in network.parameters():
        state.optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    assert len(pack(state)) <= largest_state_bytes(large, rules)
    source = "def build_model(num_classes, size_px): ..."
    net = CustomPlan(file="net.py", source=source, defines=("build_model",))
    own = plan.model_copy(update={"custom": net})
    assert largest_state_bytes(own, rules) == min(memory_mib // 4, 256) << 20


class Unwatchable(Sandbox):
    """A sandbox of whose processes nothing can be learnt."""

    def processes(self) -> list[Path]:
        raise RuntimeError("no table of processes")


@pytest.mark.slow
def test_a_sandbox_that_cannot_be_watched_is_ended(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.custom.session.Sandbox", Unwatchable)
    error = attempt.failure(FORGED + "time.sleep(10)\n", isolation="process")
    assert isinstance(error, SandboxError)
    assert "limits cannot be watched: RuntimeError('no table of processes')" in str(error)


@pytest.mark.slow
def test_a_crash_is_told_although_a_worker_holds_the_channel(attempt: Attempt) -> None:
    source = FORGED + "import ctypes\nif os.fork():\n    ctypes.string_at(0)\ntime.sleep(100)\n"
    error = attempt.failure(source, isolation="process", wall_seconds=60)
    assert type(error) is TeamCodeError
    assert "segmentation fault" in str(error)


@pytest.mark.slow
def test_a_network_that_is_too_large_to_come_out_is_told_before_it_trains(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.custom.session.largest_state_bytes", lambda *_: 1000)
    error = attempt.failure(NETWORK, isolation="process")
    assert isinstance(error, TeamCodeTooLarge)
    assert str(error).startswith("net.py:3: MemoryError: the network's weights and momentum are")

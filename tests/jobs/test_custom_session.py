"""What may come out of a sandbox at once: `jobs.custom.session`."""

import pytest
import torch

from jobs.checkpoint import pack
from jobs.custom.session import largest_state_bytes
from jobs.monkeynet import build_model
from jobs.plan import CustomPlan, MemberPlan, ModelPlan, SandboxRules
from jobs.training_state import TrainingState


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

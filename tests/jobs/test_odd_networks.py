"""Networks unlike MonkeyNET: resumed with the same bits, and what their checkpoints hold."""

import pytest
import torch

from jobs.checkpoint import (
    CheckpointContent,
    pack,
    read_checkpoint,
    save_checkpoint,
    unpack,
    write_checkpoint,
)
from jobs.errors import Stopped
from jobs.plan import OptimizerPlan
from jobs.training_io import Techniques
from tests.jobs.attempts import digest, history
from tests.jobs.trainings import Odd, Training, started


@pytest.mark.parametrize(
    "optimizer",
    [OptimizerPlan(), OptimizerPlan(learning_rate=0.05, momentum=0.9, weight_decay=1e-3)],
    ids=["plain", "momentum"],
)
def test_an_odd_network_resumes_with_the_same_bits(plan, labelled, tmp_path, optimizer):
    plan = plan.model_copy(update={"optimizer": optimizer, "epochs": 4})
    techniques = Techniques(build_model=lambda *_: Odd())
    whole = Training(plan, labelled, techniques)
    expected = whole.run()

    resumed = Training(plan, labelled, techniques, tmp_path / "0.checkpoint")
    left = iter(range(2 * -(-len(whole.training_data.rows) // plan.batch_size) + 1))
    with pytest.raises(Stopped):
        resumed.run(lambda: next(left, None) is None)
    result = resumed.run()
    assert resumed.lines == ["resumed after epoch 2 from the checkpoint"]
    assert digest(result) == digest(expected)
    assert history(resumed.reports) == history(whole.reports)


def test_packed_states_come_back_and_others_change_nothing(plan):
    state = started(plan, Odd())
    state.step = 5
    content = pack(state)
    back = started(plan, Odd())
    with torch.random.fork_rng():
        unpack(content, back)
        assert pack(back) == content

    other = started(plan)
    before = pack(other)
    for wrong in (content, content[:-1], b"", b"{}\n", content.replace(b'"step"', b'"stop"', 1)):
        with pytest.raises(ValueError, match="does not fit the network"):
            unpack(wrong, other)
    assert pack(other) == before


def test_momentum_must_fit_its_weight(plan):
    """A weight without momentum is one that had no gradient; a momentum of other shape is not."""
    state = started(plan)
    momentum = {f"momentum.{name}": value for name, value in state.model.named_parameters()}
    some = dict(list(momentum.items())[:1])
    with torch.random.fork_rng():
        state.restore(state.tensors() | some, state.values())
        name, value = next(iter(some.items()))
        with pytest.raises(ValueError, match="another network"):
            state.restore(state.tensors() | {name: value[:1]}, state.values())
        without = plan.model_copy(update={"optimizer": OptimizerPlan()})
        with pytest.raises(ValueError, match="another network"):
            started(without).restore(state.tensors(), state.values())


def test_any_bytes_are_kept_with_the_plan_that_they_belong_to(plan, tmp_path):
    path = tmp_path / "new" / "0.checkpoint"
    assert read_checkpoint(path, plan) is None
    payload = bytes(range(256)) * 3 + b"\n"
    write_checkpoint(path, plan, {"history": [1, 2]}, payload)
    assert read_checkpoint(path, plan) == CheckpointContent({"history": [1, 2]}, payload)
    other = plan.model_copy(update={"seed": 8})
    assert read_checkpoint(path, other) == "the checkpoint is of another plan: starting anew"
    path.write_bytes(path.read_bytes()[:-1])
    assert read_checkpoint(path, plan) == "the checkpoint is damaged: starting anew"


def test_a_members_own_checkpoint_is_such_a_file(plan, tmp_path):
    state = started(plan)
    save_checkpoint(tmp_path / "0", plan, state)
    content = read_checkpoint(tmp_path / "0", plan)
    assert isinstance(content, CheckpointContent)
    assert content.values == state.values()

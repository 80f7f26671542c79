import io

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from jobs.ensemble import Ensemble, Stacker, combine, load_ensemble
from jobs.evaluation import predict
from jobs.monkeynet import build_model
from jobs.plan import MemberPlan, ModelPlan
from jobs.stacking import fit
from jobs.train import train_member


def _members(num_members: int = 3) -> list[nn.Module]:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return [build_model(ModelPlan(), 4, 16) for _ in range(num_members)]


def _stacker(num_members: int = 3) -> Stacker:
    generator = torch.Generator().manual_seed(2)
    weight = torch.rand(4, 4 * num_members, generator=generator)
    return Stacker(weight, torch.rand(4, generator=generator))


def _images(num_images: int) -> torch.Tensor:
    return torch.rand(num_images, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_mean_is_the_mean_of_softmaxes():
    members, images = _members(), _images(5)
    expected = sum(torch.softmax(member(images), dim=1) for member in members) / 3
    torch.testing.assert_close(Ensemble(members, "mean")(images), expected)
    alone = Ensemble(members[:1], "mean")(images)
    assert torch.equal(alone, torch.softmax(members[0](images), dim=1))


def test_votes_win_and_the_mean_settles_ties():
    probs = torch.tensor(
        [  # three members, three images
            [[0.34, 0.33, 0.33], [0.6, 0.3, 0.1], [0.9, 0.1, 0.0]],
            [[0.34, 0.33, 0.33], [0.1, 0.8, 0.1], [0.1, 0.2, 0.7]],
            [[0.00, 1.00, 0.00], [0.2, 0.1, 0.7], [0.1, 0.6, 0.3]],
        ]
    )
    assert combine(probs, "mean").argmax(dim=1).tolist() == [1, 1, 0]
    voted = combine(probs, "vote")
    assert voted.argmax(dim=1).tolist() == [0, 1, 0]
    torch.testing.assert_close(voted.sum(dim=1), torch.ones(3))


@pytest.mark.parametrize("num_members", [1, 2, 5])
def test_a_vote_follows_its_definition(num_members):
    generator = np.random.default_rng(num_members)
    probs = generator.dirichlet(np.full(4, 0.3), (num_members, 500)).astype(np.float32)
    voted = combine(torch.from_numpy(probs), "vote").argmax(dim=1).numpy()
    for image in range(500):
        votes = np.bincount(probs[:, image].argmax(axis=1), minlength=4)
        tied = np.flatnonzero(votes == votes.max())
        mean = probs[:, image].mean(axis=0)
        assert voted[image] == tied[mean[tied].argmax()]


def test_the_stacker_hears_each_member_in_its_place():
    probs = torch.tensor([[[0.8, 0.2]], [[0.3, 0.7]]])  # two members, one image
    only_the_second = Stacker(torch.tensor([[0.0, 0, 1, 0], [0, 0, 0, 1]]), torch.zeros(2))
    stacked = combine(probs, "stacking", only_the_second)
    torch.testing.assert_close(stacked, torch.tensor([[0.3, 0.7]]))
    # softmax(log 0.8 + log 0.3, log 0.2 + log 0.7 + log 2): 0.24 against 0.28
    both = Stacker(torch.eye(2).repeat(1, 2), torch.tensor([1.0, 2.0]).log())
    stacked = combine(probs, "stacking", both)
    torch.testing.assert_close(stacked, torch.tensor([[0.24, 0.28]]) / 0.52)


def test_a_network_and_numpy_take_the_fitted_layer_for_the_same():
    generator = np.random.default_rng(0)
    probs = generator.dirichlet(np.full(4, 0.3), (3, 200)).astype(np.float32)
    probs[0, :2] = [[1, 0, 0, 0], [0, 0, 0, 1]]  # with logarithms that are not there
    layer = fit(probs, generator.integers(0, 4, 200), penalty=1)
    stacker = Stacker(torch.from_numpy(layer.weight), torch.from_numpy(layer.bias))
    stacked = combine(torch.from_numpy(probs), "stacking", stacker)
    np.testing.assert_allclose(stacked.numpy(), layer(probs), atol=2e-6)


@pytest.mark.parametrize("how", ["mean", "vote", "stacking"])
def test_the_exported_model_gives_equal_results(how):
    model = Ensemble(_members(), how, _stacker() if how == "stacking" else None)
    program = torch.export.export(
        model, (_images(2),), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    for num_images in (1, 2, 7):
        assert torch.equal(loaded(_images(num_images)), model(_images(num_images)))

    photos = np.random.default_rng(0).integers(0, 256, (40, 3, 16, 16), dtype=np.uint8)
    assert np.array_equal(predict(loaded, photos), predict(model, photos))


def test_trained_members_come_back_exactly(plan, labelled):
    plans = [plan, plan.model_copy(update={"seed": 8, "epochs": 1})]
    results = [train_member(plan, labelled, lambda _: None) for plan in plans]
    before = torch.random.get_rng_state()
    model = load_ensemble(plans, [result.weights for result in results], "mean")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not model.training
    for member, result in zip(model.members, results, strict=True):
        assert safetensors.torch.save(member.state_dict()) == result.weights
    assert predict(model, labelled.images).shape == (75, 3)


def test_members_that_do_not_fit_are_refused(plan):
    with pytest.raises(ValueError, match="0 plans and 0 weights"):
        load_ensemble([], [], "mean")
    with pytest.raises(ValueError, match="1 plans and 2 weights"):
        load_ensemble([plan], [b"", b""], "mean")
    larger = MemberPlan(data=plan.data.model_copy(update={"image_size_px": 32}))
    with pytest.raises(ValueError, match="different image sizes or classes"):
        load_ensemble([plan, larger], [b"", b""], "mean")


@pytest.mark.parametrize(("how", "stacker"), [("stacking", None), ("mean", _stacker(1))])
def test_a_stacker_belongs_to_stacking_alone(plan, how, stacker):
    with pytest.raises(ValueError, match='"stacking" needs the one that was fitted'):
        Ensemble(_members(1), how, stacker)
    with pytest.raises(ValueError, match='"stacking" needs the one that was fitted'):
        combine(torch.full((1, 1, 4), 0.25), how, stacker)
    weights = safetensors.torch.save(build_model(plan.model, 3, 16).state_dict())
    with pytest.raises(ValueError, match='"stacking" needs the one that was fitted'):
        load_ensemble([plan], [weights], how, stacker)

"""Teachers: their files, what they say, and how they are trained."""

import io
from functools import partial

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from torchvision import models

from jobs.errors import DataError, Stopped
from jobs.plan import TeacherPlan, TeacherSpec
from jobs.split import split_images
from jobs.teacher import (
    TeacherNet,
    Teaching,
    Tutor,
    architectures,
    blank,
    build_classifier,
    check_takes,
    fit_state,
    read_state,
    teacher_logits,
)
from jobs.teacher_training import start_from, train_teacher

SMALL = "mobilenet_v3_small"


def saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def teaching(**spec: object) -> Teaching:
    torch.manual_seed(0)
    network = models.get_model(SMALL, weights=None, num_classes=3)
    spec = {"sha256": "s", "architecture": SMALL, "image_size_px": 32, **spec}
    weights = safetensors.torch.save(network.state_dict())
    return Teaching(TeacherSpec.model_validate(spec), weights)


def images(count: int, side_px: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 3, side_px, side_px), dtype=np.uint8)


class TestFiles:
    def test_half_and_single_precision_come_out_as_single(self) -> None:
        state = {"a": torch.rand(3), "n": torch.tensor(2)}
        for stored in (state, {"a": state["a"].half(), "n": state["n"]}):
            read = read_state(saved(stored), "x.pt")
            assert read["a"].dtype == torch.float32
            assert read["n"].dtype == torch.int64
            torch.testing.assert_close(read["a"], state["a"], atol=1e-3, rtol=0)

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"not a model",
            b"GIF89a",
            b"PK\x03\x04" + bytes(100),
            saved([torch.zeros(1)]),
            saved({}),
            saved({"epoch": 3, "model": {"a": torch.zeros(1)}}),
            saved({1: torch.zeros(1)}),
            saved({"a": torch.zeros(1, device="meta")}),
            saved({"a": torch.zeros(1, dtype=torch.uint16)}),
            saved({"a": torch.zeros(1, dtype=torch.complex64)}),
            saved({"a": torch.zeros(500)})[:-300],
        ],
    )
    def test_what_is_no_plain_state_dict_is_refused(self, content: bytes) -> None:
        with pytest.raises(DataError, match=r"^x\.pt .*torch\.save\(model\.state_dict\(\), FILE\)"):
            read_state(content, "x.pt")

    def test_a_pickled_network_is_refused_and_not_executed(self) -> None:
        with pytest.raises(DataError, match="no plain state dict"):
            read_state(saved(nn.Linear(2, 2)), "x.pt")

    @pytest.mark.filterwarnings("ignore::UserWarning")  # such tensors are deprecated
    def test_a_quantized_network_is_refused(self) -> None:
        quantized = torch.quantize_per_tensor(torch.rand(3), 0.1, 0, torch.quint8)
        with pytest.raises(DataError, match="not a plain state dict"):
            read_state(saved({"a": quantized}), "x.pt")

    def test_a_state_that_does_not_fit_is_told_by_its_keys(self) -> None:
        network = nn.Linear(2, 3)
        with pytest.raises(DataError, match=r"bias is missing; extra is unknown; weight has shape"):
            fit_state(network, {"weight": torch.zeros(3, 4), "extra": torch.zeros(1)})


class TestNetwork:
    def test_it_is_torchvisions_network(self) -> None:
        given = teaching()
        reference = models.get_model(SMALL, weights=None, num_classes=3)
        reference.load_state_dict(safetensors.torch.load(given.weights))
        pixels = images(2)
        with torch.no_grad():
            expected = reference.eval()(torch.from_numpy(pixels) / 255)
        np.testing.assert_allclose(teacher_logits(given, pixels, 3, 1), expected, atol=1e-5)

    @pytest.mark.parametrize(
        ("side_px", "batches"), [(32, [32, 1]), (224, [32, 1]), (448, [8, 8, 8, 8, 1])]
    )
    def test_it_is_asked_about_no_more_large_images_at_once_than_memory_holds(
        self, side_px: int, batches: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def forward(_self: TeacherNet, asked: torch.Tensor) -> torch.Tensor:
            seen.append(len(asked))
            return torch.zeros(len(asked), 3)

        seen: list[int] = []
        monkeypatch.setattr(TeacherNet, "forward", forward)
        teacher_logits(teaching(image_size_px=side_px), images(33, 8), 3, 1)
        assert seen == batches

    def test_pixels_are_normalized_and_resized_as_the_spec_says(self) -> None:
        net = TeacherNet(
            TeacherSpec(sha256="", architecture=SMALL, image_size_px=48, normalize="imagenet"), 3
        )
        seen = []
        net.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        net.eval()(torch.full((1, 3, 32, 32), 0.5))
        assert seen[0].shape == (1, 3, 48, 48)
        expected = [(0.5 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (0.5 - 0.406) / 0.225]
        torch.testing.assert_close(seen[0].mean(dim=(0, 2, 3)), torch.tensor(expected))

    def test_an_unknown_architecture_is_refused(self) -> None:
        with pytest.raises(DataError, match="no classifier 'resnet19'; some that it has: resnet18"):
            build_classifier("resnet19", 3)

    @pytest.mark.parametrize("letter", sorted({name[0] for name in architectures()}))
    def test_every_architecture_can_be_built_blank(self, letter: str) -> None:
        torch.manual_seed(0)
        before = torch.get_rng_state()
        large = "16gf", "32gf", "128gf"  # gigabytes of what smaller ones show
        for name in architectures():
            if name.startswith(letter) and not name.endswith(large):
                network = blank(partial(build_classifier, name, 3))
                assert len(list(network.state_dict().values())[-1]) == 3, name
        assert torch.equal(torch.get_rng_state(), before)

    def test_a_network_that_is_built_with_numbers_answers_and_takes_images(self) -> None:
        spec = TeacherSpec(sha256="s", architecture="regnet_y_400mf", image_size_px=32)
        network = build_classifier(spec.architecture, 3)
        given = Teaching(spec, safetensors.torch.save(network.state_dict()))
        assert teacher_logits(given, images(2), 3, 1).shape == (2, 3)
        check_takes(spec, 3)

    @pytest.mark.parametrize("architecture", ["googlenet", "inception_v3"])
    def test_auxiliary_classifiers_are_left_out(self, architecture: str) -> None:
        assert not any(
            "aux" in key.lower() for key in build_classifier(architecture, 3).state_dict()
        )


class TestTutor:
    def test_known_logits_are_looked_up(self) -> None:
        logits = np.arange(12, dtype=np.float32).reshape(4, 3)
        tutor = Tutor(Teaching(teaching().spec, b"", logits), 3)
        answer = tutor.logits(torch.zeros(2, 3, 32, 32), np.array([3, 1]))
        assert answer.tolist() == [[9, 10, 11], [3, 4, 5]]

    def test_else_it_answers_for_the_images_as_they_are(self) -> None:
        given, pixels = teaching(), images(4)
        tutor = Tutor(given, 3)
        batch = torch.from_numpy(pixels[[2, 0]]) / 255
        answer = tutor.logits(batch, np.array([2, 0]))
        assert not answer.requires_grad
        expected = teacher_logits(given, pixels, 3, 1)[[2, 0]]
        np.testing.assert_allclose(answer, expected, atol=1e-4)
        assert not torch.equal(tutor.logits(batch.flip(3), np.array([2, 0])), answer)


class TestTraining:
    @pytest.fixture
    def plan(self, plan) -> TeacherPlan:
        return TeacherPlan(
            data=plan.data.model_copy(update={"train_fraction": 1.0}),
            architecture=SMALL,
            epochs=2,
            batch_size=16,
            learning_rate=0.02,
        )

    def test_the_same_plan_gives_the_same_bits(self, plan, labelled) -> None:
        reports = []
        first = train_teacher(plan, labelled, None, reports.append)
        torch.rand(3)
        again = train_teacher(plan, labelled, None, lambda _: None)
        assert first.weights == again.weights
        assert [report.epoch for report in reports] == [1, 2]
        assert first.val_probs.shape == (15, 3)

    def test_the_result_is_of_the_epoch_with_the_lowest_validation_loss(
        self, plan, labelled
    ) -> None:
        reports = []
        plan = plan.model_copy(update={"epochs": 12, "learning_rate": 0.1, "patience_epochs": 2})
        result = train_teacher(plan, labelled, None, reports.append)
        best = min(reports, key=lambda report: report.val_loss)
        assert len(reports) in (12, best.epoch + 2)
        assert len(reports) < 12, "it should have stopped early with such a learning rate"
        spec = TeacherSpec(sha256="", architecture=SMALL, image_size_px=16)
        split = split_images(labelled.labels, labelled.groups, plan.data)
        logits = teacher_logits(
            Teaching(spec, result.weights), np.array(labelled.images[split.validation]), 3, 1
        )
        loss = nn.functional.cross_entropy(
            torch.from_numpy(logits), torch.from_numpy(labelled.labels[split.validation])
        )
        assert loss.item() == pytest.approx(best.val_loss, rel=1e-3)

    def test_one_or_two_steps_are_made_with_the_plans_rate(self, plan, labelled) -> None:
        reports = []
        for epochs in (1, 2):
            few = plan.model_copy(update={"epochs": epochs, "batch_size": 8192})
            train_teacher(few, labelled, None, reports.append)
        assert [report.learning_rate for report in reports] == [plan.learning_rate] * 3

    def test_of_five_steps_one_is_too_few_for_the_rate_to_rise_over(self, plan, labelled) -> None:
        reports = []
        few = plan.model_copy(update={"epochs": 5, "batch_size": 8192, "patience_epochs": 5})
        train_teacher(few, labelled, None, reports.append)
        assert [report.epoch for report in reports] == [1, 2, 3, 4, 5]
        assert max(report.learning_rate for report in reports) == pytest.approx(plan.learning_rate)

    def test_it_stops_when_asked(self, plan, labelled) -> None:
        with pytest.raises(Stopped):
            train_teacher(plan, labelled, None, lambda _: None, lambda: True)

    def test_it_starts_from_a_backbone_without_its_last_layer(self) -> None:
        torch.manual_seed(3)
        backbone = models.get_model(SMALL, weights=None, num_classes=1000)
        state = {k: v for k, v in backbone.state_dict().items() if k.startswith("features")}
        network = build_classifier(SMALL, 3)
        head = network.state_dict()["classifier.3.weight"].clone()
        start_from(network, state)
        after = network.state_dict()
        assert all(torch.equal(after[key], value) for key, value in state.items())
        assert torch.equal(after["classifier.3.weight"], head)
        start_from(network, backbone.state_dict())  # its last layer is of another shape
        assert torch.equal(
            network.state_dict()["classifier.0.weight"],
            backbone.state_dict()["classifier.0.weight"],
        )
        assert torch.equal(network.state_dict()["classifier.3.weight"], head)

    def test_another_networks_weights_are_refused(self) -> None:
        other = models.get_model("squeezenet1_1", weights=None, num_classes=3).state_dict()
        with pytest.raises(
            DataError, match=r"no weights for MobileNetV3: .* parameters are missing"
        ):
            start_from(build_classifier(SMALL, 3), other)

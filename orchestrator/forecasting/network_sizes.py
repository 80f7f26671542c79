"""The sizes of a plan's network, without building it.

In: a `MemberPlan`. Out: what each convolution takes and puts out, its multiply-adds, the number of
weights, and which layers are computed by transforms. Used by `costs`, which must not import torch.
"""

from dataclasses import dataclass
from itertools import pairwise

from jobs.plan import BASE_CHANNELS, MemberPlan, ModelPlan, feature_side_px
from jobs.tiles import tiles_pay

HIDDEN_FEATURES = 16
BOOST_KERNEL = 5
OWN_NETWORK = ModelPlan(turbo_blocks=1)
"""What a team's own network is taken for until it is measured: nobody knows what it will do."""


@dataclass(frozen=True)
class Layer:
    """A convolution of a turbo boost."""

    channels: int
    side_px: int
    num_weights: int

    @property
    def num_inputs(self) -> int:
        """Of an image."""
        return self.channels * self.side_px**2

    @property
    def macs(self) -> int:
        """Multiply-adds for an image, the direct way."""
        return self.num_weights * self.side_px**2

    def tiled(self, num_images: int) -> bool:
        """Whether it is computed by transforms, in float32 on a CPU."""
        return tiles_pay(BOOST_KERNEL, self.channels, (self.side_px, self.side_px), num_images)


@dataclass(frozen=True)
class Network:
    """The sizes of a plan's MonkeyNET."""

    outputs: tuple[int, ...]
    """Numbers that each convolution puts out for an image."""
    deep: tuple[Layer, ...]
    """All convolutions but the first."""
    num_parameters: int


def network(plan: MemberPlan) -> Network:
    """The sizes of the network that `jobs.monkeynet` builds, or of what stands for a team's own."""
    side, turbo = plan.data.image_size_px, model_of(plan).turbo_blocks
    channels = [3] + [BASE_CHANNELS << block for block in range(turbo + 1)]
    sides = [side >> block for block in range(turbo + 1)] if turbo else [side + 2]
    taps = BOOST_KERNEL**2 if turbo else 9
    outputs = tuple(width * of**2 for width, of in zip(channels[1:], sides, strict=True))
    weights = [taps * a * b for a, b in pairwise(channels)]
    head = channels[-1] * feature_side_px(side, turbo) ** 2 * HIDDEN_FEATURES
    deep = zip(channels[1:-1], sides[1:], weights[1:], strict=True)
    return Network(outputs, tuple(Layer(*each) for each in deep), sum(weights) + head)


def tiled(plan: MemberPlan, num_images: int) -> tuple[Layer, ...]:
    """The layers of a plan's network that transforms compute, for so many images at once."""
    if (plan.device, plan.precision) != ("cpu", "fp32"):
        return ()
    return tuple(layer for layer in network(plan).deep if layer.tiled(num_images))


def model_of(plan: MemberPlan) -> ModelPlan:
    """The network that a plan is taken to train."""
    own = plan.custom is not None and "build_model" in plan.custom.defines
    return OWN_NETWORK if own else plan.model

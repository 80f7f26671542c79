"""MonkeyNET, the game's small convolutional network.

In: a `ModelPlan`, the number of classes and the image size. Out: a module that maps
(B, 3, S, S) float in [0, 1] to (B, C) logits. `jobs.train` trains it, `jobs.ensemble` combines
several.
"""

from itertools import pairwise

from torch import Tensor, nn

from jobs.plan import BASE_CHANNELS, BASE_POOL, ModelPlan, feature_side_px

HIDDEN_FEATURES = 16


class MonkeyNet(nn.Module):
    """Convolution blocks, then two linear layers. Made by `build_model`."""

    def __init__(self, blocks: list[nn.Module], num_features: int, num_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(*blocks)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(num_features, HIDDEN_FEATURES),
            nn.ReLU(),
            nn.Linear(HIDDEN_FEATURES, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, S, S) in [0, 1] to logits (B, C)."""
        logits: Tensor = self.classifier(self.features(images))
        return logits


def build_model(model: ModelPlan, num_classes: int, image_size_px: int) -> MonkeyNet:
    """Build a network with weights drawn from torch's global random state.

    Without turbo blocks: one block of 32 channels (kernel 3, padding 2) that pools by 8. With N of
    them: 1 + N blocks of 32, 64, 128, ... channels (kernel 5, padding 2) that pool by 2.

    Raises:
        ValueError: pooling would leave nothing of an image of this size.
    """
    side_px = feature_side_px(image_size_px, model.turbo_blocks)
    if side_px == 0:
        raise ValueError(
            f"images of {image_size_px} px are too small for {model.turbo_blocks} turbo blocks: "
            "pooling leaves nothing of them; use larger images or fewer blocks"
        )
    if model.turbo_blocks == 0:
        blocks = [_block(3, BASE_CHANNELS, kernel_size=3, pool=BASE_POOL)]
        return MonkeyNet(blocks, BASE_CHANNELS * side_px**2, num_classes)
    channels = [3] + [BASE_CHANNELS << block for block in range(model.turbo_blocks + 1)]
    blocks = [
        _block(num_in, num_out, kernel_size=5, pool=2) for num_in, num_out in pairwise(channels)
    ]
    return MonkeyNet(blocks, channels[-1] * side_px**2, num_classes)


def _block(num_in: int, num_out: int, kernel_size: int, pool: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(num_in, num_out, kernel_size, padding=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(pool),
    )

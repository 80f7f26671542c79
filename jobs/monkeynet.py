"""MonkeyNET, the game's small convolutional network.

In: a `ModelPlan`, the number of classes and the image size. Out: a module that maps
(B, 3, S, S) float in [0, 1] to (B, C) logits. `jobs.train` trains it, `jobs.ensemble` combines
several.

A block is convolution, ReLU, [dropout], [attention, in the last block], pooling. Neither addition
changes the names of the other layers' weights.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from jobs.plan import BASE_CHANNELS, BASE_POOL, ModelPlan, feature_side_px

HIDDEN_FEATURES = 16
ATTENTION_KERNEL = 7


class SpatialAttention(nn.Module):
    """Weigh every place of the feature maps by what the channels say about it, from 0 to 1.

    The spatial half of CBAM (Woo et al. 2018, https://arxiv.org/abs/1807.06521): mean and maximum
    over the channels, a convolution without bias over these two maps, a sigmoid.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, ATTENTION_KERNEL, padding=ATTENTION_KERNEL // 2, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, K, H, W) to weighted features of the same shape."""
        maps = [features.mean(dim=1, keepdim=True), features.amax(dim=1, keepdim=True)]
        # With so few channels, a CPU's backward pass is five times faster in this memory layout.
        both = torch.cat(maps, dim=1).contiguous(memory_format=torch.channels_last)
        return features * torch.sigmoid(self.conv(both))


class MonkeyNet(nn.Module):
    """Convolution blocks, then two linear layers. Made by `build_model`."""

    def __init__(
        self, blocks: list[nn.Module], num_features: int, num_classes: int, dropout: float
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(*blocks)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(num_features, HIDDEN_FEATURES),
            nn.Sequential(nn.ReLU(), nn.Dropout(dropout)) if dropout > 0 else nn.ReLU(),
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

    Dropout is spatial in the blocks, where neighbouring pixels tell the same: whole channels go
    (Tompson et al. 2015, https://arxiv.org/abs/1411.4280). Before the prediction layer it is the
    ordinary one (Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html).

    Raises:
        ValueError: pooling would leave nothing of an image of this size.
    """
    side_px = feature_side_px(image_size_px, model.turbo_blocks)
    if side_px == 0:
        raise ValueError(
            f"images of {image_size_px} px are too small for {model.turbo_blocks} turbo blocks: "
            "pooling leaves nothing of them; use larger images or fewer blocks"
        )
    kernel_size, pool = (3, BASE_POOL) if model.turbo_blocks == 0 else (5, 2)
    channels = [3] + [BASE_CHANNELS << block for block in range(model.turbo_blocks + 1)]
    blocks: list[nn.Module] = []
    for num_in, num_out in pairwise(channels):
        layers: list[nn.Module] = [
            nn.Conv2d(num_in, num_out, kernel_size, padding=2),
            nn.ReLU(inplace=True),
        ]
        if model.dropout > 0:
            layers.append(nn.Dropout2d(model.dropout))
        if model.attention and len(blocks) == model.turbo_blocks:
            layers.append(SpatialAttention())
        blocks.append(nn.Sequential(*layers, nn.MaxPool2d(pool)))
    return MonkeyNet(blocks, channels[-1] * side_px**2, num_classes, model.dropout)

"""A residual network: every block adds what it has found to what it was given.

K. He et al., Deep Residual Learning for Image Recognition, CVPR 2016, made small: six convolutions
and 97,000 weights, which train in about the time of the game's own network.
"""

import torch
from torch import nn


class Block(nn.Module):
    """Two convolutions and a shortcut around them; (B, C, S, S) in and out."""

    def __init__(self, channels):
        super().__init__()
        self.found = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x):
        """Add what was found."""
        return torch.relu(x + self.found(x))


def build_model(num_classes, size_px):  # noqa: ARG001  # any size will do
    """Pixels (B, 3, S, S) in [0, 1] -> logits (B, classes)."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 4, stride=4),  # (B, 32, S/4, S/4)
        nn.BatchNorm2d(32),
        nn.ReLU(),
        Block(32),
        nn.MaxPool2d(2),  # (B, 32, S/8, S/8)
        nn.Conv2d(32, 64, 1),
        Block(64),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, num_classes),
    )

"""The images that benches train on.

In: nothing. Out: the photos beside the checkout where they are, otherwise drawn monkeys, decoded
and in memory.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from jobs.drawn_monkeys import draw_dataset
from jobs.images import LabelledImages, decode
from jobs.plan import DataPlan

PHOTOS = Path("../shared/data/monkeys")


def training_images(size_px: int) -> tuple[DataPlan, LabelledImages]:
    """The training part at a size, and the plan that names it."""
    with tempfile.TemporaryDirectory(prefix="bench-photos-") as made:
        root = PHOTOS
        if not root.is_dir():
            root = Path(made) / "drawn"
            draw_dataset(root)
        decoded = decode(root, [size_px], Path(made) / "cache")
        images = decoded.training(size_px)
        held = replace(images, images=np.array(images.images))
    folder = decoded.folder
    plan = DataPlan(fingerprint=folder.fingerprint, classes=folder.classes, image_size_px=size_px)
    return plan, held

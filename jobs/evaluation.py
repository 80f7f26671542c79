"""A network asked for its outputs, as it is after training.

In: a network and images. Out: logits, in batches of one size whatever the network was trained with.
`jobs.train` validates with it every epoch; scoring and ensembles ask finished networks.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from jobs.pixels import Pixels

# Fixed, as another batch size can give other bits. 64 takes twice the time on a CPU: glibc gives
# larger blocks back to the system after every use, and fetching them anew costs more than the work.
EVAL_BATCH = 16


def predict(model: nn.Module, images: np.ndarray, device: str = "cpu") -> np.ndarray:
    """Return a model's outputs (N, C) for images (N, 3, S, S) uint8, in evaluation mode."""
    return evaluate(model, Pixels(images, device)).numpy()


def evaluate(model: nn.Module, pixels: Pixels) -> Tensor:
    """Return a model's outputs (N, C), on the CPU, in evaluation mode."""
    # An exported program keeps the mode that it was exported in and refuses to be asked.
    if not isinstance(model, GraphModule):
        model.eval()
    places = pixels.places(np.arange(len(pixels)))
    with torch.no_grad():
        outputs = [
            model(pixels.batch(places[start : start + EVAL_BATCH]))
            for start in range(0, len(pixels), EVAL_BATCH)
        ]
    return torch.cat(outputs).detach().cpu()

"""The items of the shop that change how one member trains: one class each, on six shelves.

In: the parameters that a loadout gives; out: a changed member plan. To add an item, add a class to
one of the modules: the price list, the lesson, the JSON Schema, the checks of a loadout and what
ensemble members may differ in follow from it. Prices and defaults are the rule book's. Next:
`enchanter`, the item that is about several members.

    data             which images there are to learn from, and their size
    augmentations    what happens to a training image before the network sees it
    network          what the network is made of
    training         the optimizer and its learning rate
    losses           what the network is trained to do
    custom           the team's own code

A class's docstring is what the shop says: a sentence, then the lesson. Lessons speak of the game as
it is by default: 64 px, 70 % of the training images, the base network, 20 epochs.
"""

from collections.abc import Mapping
from types import ModuleType

from orchestrator.admission.items import augmentations, custom, data, losses, network, training
from orchestrator.admission.purchase import Purchase


def _of(module: ModuleType) -> tuple[type[Purchase], ...]:
    """Return the items that a module defines, in its order."""
    return tuple(
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Purchase)
        and value.__module__ == module.__name__
    )


SHELVES: Mapping[str, tuple[type[Purchase], ...]] = {
    "data": _of(data),
    "augmentation": _of(augmentations),
    "network": _of(network),
    "training": _of(training),
    "loss": _of(losses),
    "own code": _of(custom),
}
"""The items that change one member's plan, as the shop sorts them."""

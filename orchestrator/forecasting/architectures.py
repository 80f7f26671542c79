"""What torchvision's classifiers cost, so that `costs` can reckon with a teacher without torch.

In: an architecture's name. Out: its multiply-adds, activations and parameters. Multiply-adds and
parameters are those that torchvision publishes with its weights; activations are the outputs of the
convolutions and linear layers, which bound the time of networks with few multiply-adds. Next on the
path: `costs`.
"""

from typing import NamedTuple


class Architecture(NamedTuple):
    """The size of a network. Per pixel: its input may have any side."""

    kilo_macs: float
    """Thousands of multiply-adds for a pixel of the input."""
    activations: float
    """Numbers that its layers put out for a pixel of the input."""
    mega_parameters: float
    """Millions of weights."""


def architecture(name: str) -> Architecture:
    """The size of a torchvision classifier; that of a resnet50 where the name is unknown."""
    return Architecture(*_SIZES.get(name, _SIZES["resnet50"]))


_SIZES = {
    "alexnet": (14.2, 10, 61.1),
    "convnext_base": (306, 574, 88.6),
    "convnext_large": (685, 860, 198),
    "convnext_small": (173, 430, 50.2),
    "convnext_tiny": (88.8, 268, 28.6),
    "densenet121": (56.5, 138, 7.98),
    "densenet161": (154, 221, 28.7),
    "densenet169": (67, 146, 14.1),
    "densenet201": (85.5, 157, 20),
    "efficientnet_b0": (7.69, 134, 5.29),
    "efficientnet_b1": (11.9, 186, 7.79),
    "efficientnet_b2": (13.1, 195, 9.11),
    "efficientnet_b3": (20.3, 259, 12.2),
    "efficientnet_b4": (30.4, 340, 19.3),
    "efficientnet_b5": (49.4, 467, 30.4),
    "efficientnet_b6": (68.4, 597, 43),
    "efficientnet_b7": (105, 799, 66.3),
    "efficientnet_v2_l": (243, 688, 119),
    "efficientnet_v2_m": (107, 391, 54.1),
    "efficientnet_v2_s": (56.7, 243, 21.5),
    "googlenet": (29.9, 64, 6.62),
    "inception_v3": (63.9, 100, 27.2),
    "maxvit_t": (111, 616, 30.9),
    "mnasnet0_5": (2.07, 61, 2.22),
    "mnasnet0_75": (4.28, 95, 3.17),
    "mnasnet1_0": (6.26, 109, 4.38),
    "mnasnet1_3": (10.5, 147, 6.28),
    "mobilenet_v2": (6, 133, 3.5),
    "mobilenet_v3_large": (4.32, 88, 5.48),
    "mobilenet_v3_small": (1.14, 28, 2.54),
    "regnet_x_16gf": (318, 508, 54.3),
    "regnet_x_1_6gf": (31.9, 157, 9.19),
    "regnet_x_32gf": (632, 723, 108),
    "regnet_x_3_2gf": (63.3, 227, 15.3),
    "regnet_x_400mf": (8.25, 104, 5.5),
    "regnet_x_800mf": (15.9, 102, 7.26),
    "regnet_x_8gf": (159, 281, 39.6),
    "regnet_y_128gf": (2540, 1427, 645),
    "regnet_y_16gf": (317, 458, 83.6),
    "regnet_y_1_6gf": (32.1, 159, 11.2),
    "regnet_y_32gf": (643, 604, 145),
    "regnet_y_3_2gf": (63.3, 225, 19.4),
    "regnet_y_400mf": (8.01, 78, 4.34),
    "regnet_y_800mf": (16.6, 104, 6.43),
    "regnet_y_8gf": (169, 359, 39.4),
    "resnet101": (155, 324, 44.5),
    "resnet152": (229, 450, 60.2),
    "resnet18": (36.2, 50, 11.7),
    "resnet34": (73, 75, 21.8),
    "resnet50": (81.5, 222, 25.6),
    "resnext101_32x8d": (327, 622, 88.8),
    "resnext101_64x4d": (308, 622, 83.5),
    "resnext50_32x4d": (84.3, 287, 25),
    "shufflenet_v2_x0_5": (0.797, 20, 1.37),
    "shufflenet_v2_x1_0": (2.89, 39, 2.28),
    "shufflenet_v2_x1_5": (5.9, 55, 3.5),
    "shufflenet_v2_x2_0": (11.6, 75, 7.39),
    "squeezenet1_0": (16.3, 87, 1.25),
    "squeezenet1_1": (6.96, 52, 1.24),
    "swin_b": (308, 729, 87.8),
    "swin_s": (174, 556, 49.6),
    "swin_t": (89.5, 341, 28.3),
    "swin_v2_b": (310, 729, 87.9),
    "swin_v2_s": (176, 556, 49.7),
    "swin_v2_t": (90.6, 341, 28.4),
    "vgg11": (152, 148, 133),
    "vgg11_bn": (152, 148, 133),
    "vgg13": (225, 244, 133),
    "vgg13_bn": (225, 244, 133),
    "vgg16": (308, 270, 138),
    "vgg16_bn": (308, 270, 138),
    "vgg19": (391, 296, 144),
    "vgg19_bn": (391, 296, 144),
    "vit_b_16": (350, 329, 86.6),
    "vit_b_32": (87.9, 96, 88.2),
    "vit_h_14": (3330, 2070, 632),
    "vit_l_16": (1230, 873, 304),
    "vit_l_32": (306, 220, 307),
    "wide_resnet101_2": (453, 423, 127),
    "wide_resnet50_2": (227, 287, 68.9),
}

"""One picture: backdrop, support, figure, leaves in front, light and lens.

In: a `Species` and a random generator. Out: an array (SIZE_PX, SIZE_PX, 3) uint8. Everything but
the figure's species is drawn from distributions that all species share. The scene is painted at
`SUPERSAMPLE` times the size and averaged down, which smooths its edges. Next on the path:
`drawn_monkeys` draws a whole data set and saves it.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter

from jobs.drawn_anatomy import paint_figure
from jobs.drawn_brush import Brush, Points, bezier, oval, points, scaled, strip, turned
from jobs.drawn_poses import Pose, random_pose, with_limbs
from jobs.drawn_species import SPECIES, Colour, Species

SIZE_PX = 128
SUPERSAMPLE = 2
CANVAS_PX = SIZE_PX * SUPERSAMPLE

# How hard the game is hangs mostly on these: the light varies, the animal moves and changes size.
EXPOSURE_SPREAD = 0.14  # standard deviation of the logarithm of the brightness
CAST_SPREAD = 0.06  # the same for each colour channel
BACKDROP_LIGHT = 0.64  # the animal stands in the light, what is behind it in the shade
CONTRAST, GREY = 1.4, 128  # how steep, around which value
PORTRAIT_P = 0.4
PORTRAIT_SCALE = (110, 175)  # canvas pixels in a torso length
FIGURE_SCALE = (70, 115)
DRIFT = 0.14  # of the canvas, from its centre, in each direction


class Palette(NamedTuple):
    """Colours of a place: above, below, and what grows in between."""

    top: Colour
    bottom: Colour
    growth: tuple[Colour, ...]


CANOPY = Palette((128, 160, 104), (70, 98, 62), ((88, 124, 68), (140, 168, 100), (62, 90, 54)))
FOREST = Palette((94, 116, 88), (66, 84, 64), ((88, 112, 74), (68, 90, 64), (106, 122, 82)))
SKY = Palette((156, 184, 198), (160, 176, 152), ((108, 140, 88), (176, 190, 190), (130, 154, 102)))
SAVANNAH = Palette(
    (178, 168, 130), (146, 128, 92), ((132, 132, 84), (164, 146, 104), (112, 106, 74))
)
ROCKS = Palette((142, 146, 144), (112, 112, 106), ((156, 158, 152), (98, 98, 94), (112, 122, 100)))
MIST = Palette((150, 170, 176), (112, 134, 136), ((128, 150, 146), (94, 120, 116), (164, 178, 170)))
PALETTES = (CANOPY, FOREST, SKY, SAVANNAH, ROCKS, MIST)
BARK: tuple[Colour, ...] = ((104, 78, 56), (74, 58, 46), (132, 110, 86), (58, 48, 42))
LEAF = oval(np.zeros(2), 1, 1, 14)
LEAF[:, 1] *= 1 - 0.35 * LEAF[:, 0] ** 2  # pointed
# Colours of fur and skin also occur as flowers, fruit and logs, so that they prove nothing alone.
ANIMAL_COLOURS: tuple[Colour, ...] = tuple(
    colour for kind in SPECIES for colour in (kind.coat, kind.belly, kind.face, kind.head)
)


def draw_picture(species: Species, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw one picture of the species: (SIZE_PX, SIZE_PX, 3) uint8, RGB."""
    palette = PALETTES[rng.integers(len(PALETTES))]
    scene = _backdrop(palette, rng)
    pose = with_limbs(random_pose(rng), species.limb_length)
    camera = _camera(pose, rng)
    light = np.array([rng.uniform(-0.8, 0.8), -0.8])
    brush = Brush(scene, rng, camera, light)
    _support(brush, pose, palette.bottom, rng)
    scene = scene.point([round(value * BACKDROP_LIGHT) for value in range(256)] * 3)
    figure = Image.new("RGBA", scene.size)
    paint_figure(Brush(figure, rng, camera, light), species, pose)
    _shadow(scene, figure)
    figure = _fur_grain(figure, camera, rng)
    scene.paste(figure, mask=figure.getchannel("A"))
    _occlude(scene, palette.growth, rng)
    return _photograph(scene, rng)


def _backdrop(palette: Palette, rng: np.random.Generator) -> Image.Image:
    """A soft gradient with blobs of growth, then sharper leaves and branches."""
    side = 64  # coarse, then enlarged: out of focus
    ramp = np.linspace(0, 1, side)[:, None, None]
    gradient = np.broadcast_to((1 - ramp) * palette.top + ramp * palette.bottom, (side, side, 3))
    soft = Image.fromarray(gradient.astype(np.uint8))
    growth = palette.growth
    brush = Brush(soft, rng)
    for _ in range(rng.integers(10, 26)):
        colours = growth if rng.random() < 0.8 else ANIMAL_COLOURS
        colour = scaled(colours[rng.integers(len(colours))], rng.uniform(0.75, 1.25))
        brush.fill(_leaf(rng.uniform(0, side, 2), rng.uniform(4, 24), 0.0, 0.6), colour)
    soft = soft.filter(ImageFilter.GaussianBlur(rng.uniform(0.8, 3.0)))
    scene = soft.resize((CANVAS_PX, CANVAS_PX), Image.Resampling.BICUBIC)
    brush = Brush(scene, rng)
    for _ in range(rng.integers(0, 3)):
        _branch(brush, rng, rng.uniform(2, 8))
    for _ in range(rng.integers(0, 5)):
        _sprig(brush, rng.uniform(0, CANVAS_PX, 2), rng.uniform(0, 2 * np.pi), growth, rng)
    for _ in range(rng.integers(0, 3)):  # fruit, flowers, logs
        colour = scaled(ANIMAL_COLOURS[rng.integers(len(ANIMAL_COLOURS))], rng.uniform(0.8, 1.2))
        blob = _leaf(rng.uniform(0, CANVAS_PX, 2), rng.uniform(10, 40), rng.uniform(0, np.pi), 0.5)
        brush.fur(blob, colour, 2.0)
    return scene


def _leaf(
    centre: NDArray[np.float64], length: float, angle: float, plumpness: float = 0.25
) -> Points:
    """A pointed oval that points along `angle` (radians)."""
    return centre + turned(LEAF * (1, plumpness), angle) * (length / 2)


def _sprig(
    brush: Brush,
    root: NDArray[np.float64],
    angle: float,
    growth: tuple[Colour, ...],
    rng: np.random.Generator,
) -> None:
    """A twig that grows from `root` along `angle`, with leaves on both sides."""
    colour = scaled(growth[rng.integers(len(growth))], rng.uniform(0.75, 1.2))
    size, num_leaves = rng.uniform(18, 44), rng.integers(4, 9)
    angles = angle + rng.normal(0, 0.5) * np.linspace(0, 1, num_leaves)
    steps = np.stack([np.cos(angles), np.sin(angles)], axis=1) * size * 0.5
    path = root + np.cumsum(steps, axis=0)
    brush.stroke(path, size * 0.04, scaled(colour, 0.6))
    for k, (joint, along) in enumerate(zip(path, angles, strict=True)):
        lean = along + (0.9 if k % 2 else -0.9)
        centre = joint + np.array([np.cos(lean), np.sin(lean)]) * size * 0.45
        shade = scaled(colour, 0.85 + 0.3 * (k % 2))
        brush.fill(_leaf(centre, size, lean, 0.3), shade)


def _branch(brush: Brush, rng: np.random.Generator, half_width: float) -> None:
    """A branch across the whole canvas."""
    start, middle, end = rng.uniform(-20, CANVAS_PX + 20, (3, 2))
    start[0], end[0] = -30, CANVAS_PX + 30
    path = bezier(np.stack([start, middle, end]), 20)
    if rng.random() < 0.35:
        path = path[:, ::-1]
    colour = scaled(BARK[rng.integers(len(BARK))], rng.uniform(0.8, 1.2))
    brush.stroke(path, half_width, colour)
    brush.stroke(path - np.array([0, half_width * 0.4]), half_width * 0.4, scaled(colour, 1.2))


def _camera(pose: Pose, rng: np.random.Generator) -> NDArray[np.float64]:
    """Torso lengths -> pixels: zoom, tilt, mirror, and where the animal stands. (2, 3)."""
    body = (pose.hip + pose.chest + pose.head) / 3
    if rng.random() < PORTRAIT_P:
        target, scale = pose.head * 0.8 + body * 0.2, rng.uniform(*PORTRAIT_SCALE)
    else:
        target, scale = body, rng.uniform(*FIGURE_SCALE)
    tilt = rng.normal(0, 0.18)
    cos, sin = np.cos(tilt), np.sin(tilt)
    turn = np.array([[cos, -sin], [sin, cos]]) * scale
    if rng.random() < 0.5:
        turn[:, 0] *= -1
    centre = (0.5 + rng.uniform(-DRIFT, DRIFT, 2)) * CANVAS_PX
    return np.concatenate([turn, (centre - turn @ target)[:, None]], axis=1)


def _support(brush: Brush, pose: Pose, earth: Colour, rng: np.random.Generator) -> None:
    """What the animal sits on, hangs from or clings to."""
    ends = np.stack([pose.far_arm[2], pose.near_arm[2], pose.far_leg[2], pose.near_leg[2]])
    bark = scaled(BARK[rng.integers(len(BARK))], rng.uniform(0.8, 1.2))
    width = rng.uniform(0.07, 0.2)
    across = np.linspace(-4, 4, 24)
    wobble = np.cumsum(rng.normal(0, 0.02, across.shape))
    if pose.support == "trunk":
        x = ends[:, 0].mean() + 0.12 + wobble
        path, width = np.stack([x, across], axis=1), width * 1.6
    else:
        if pose.support == "above":
            level = float(pose.near_arm[2, 1])
        else:
            level = float(np.median(ends[2:, 1])) + 0.05 + width * 0.6
        if pose.support == "below" and rng.random() < 0.4:
            top = np.stack([across, level - 0.08 + wobble], axis=1)
            ground = np.concatenate([top, points((4, 6), (-4, 6))])
            brush.fill(ground, scaled(earth, rng.uniform(0.75, 1.2)))
            return
        path = np.stack([across, level + wobble], axis=1)
    brush.fill(strip(path, np.full(len(path), width)), scaled(bark, 0.8))
    lit = path + brush.light * width * 0.35
    brush.fill(strip(lit, np.full(len(path), width * 0.55)), bark)


def _shadow(scene: Image.Image, figure: Image.Image) -> None:
    """Darken the scene softly around and below the figure."""
    small = figure.getchannel("A").resize((64, 64)).filter(ImageFilter.GaussianBlur(2.5))
    mask = small.point(lambda value: value * 0.5).resize(scene.size, Image.Resampling.BILINEAR)
    scene.paste((16, 18, 16), (2, 6), mask)


def _fur_grain(
    figure: Image.Image, camera: NDArray[np.float64], rng: np.random.Generator
) -> Image.Image:
    """Streaks of fur: noise, stretched along the body's vertical, multiplied onto the figure."""
    fine = max(40, min(CANVAS_PX, round(9000 / float(np.hypot(*camera[:, 0])))))
    noise = Image.fromarray(rng.integers(190, 256, (fine // 2, fine), dtype=np.uint8))
    grain = noise.resize(figure.size, Image.Resampling.BILINEAR)
    opaque = Image.new("L", figure.size, 255)
    return ImageChops.multiply(figure, Image.merge("RGBA", (grain, grain, grain, opaque)))


def _occlude(scene: Image.Image, growth: tuple[Colour, ...], rng: np.random.Generator) -> None:
    """Leaves and branches between the lens and the animal."""
    brush = Brush(scene, rng)
    if rng.random() < 0.35:
        _branch(brush, rng, rng.uniform(2, 9))
    for _ in range(rng.integers(0, 3)):
        edge = CANVAS_PX / 2 + points((-1, 0), (1, 0), (0, -1), (0, 1)) * CANVAS_PX * 0.55
        root = edge[rng.integers(4)] + rng.normal(0, 50, 2)
        inward = CANVAS_PX / 2 - root
        angle = np.arctan2(inward[1], inward[0]) + rng.normal(0, 0.6)
        _sprig(brush, root, angle, growth, rng)


def _photograph(scene: Image.Image, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Average down to SIZE_PX; add dappled light, exposure, colour cast, blur and noise."""
    small = scene.reduce(SUPERSAMPLE)
    small = small.filter(ImageFilter.GaussianBlur(max(0.0, rng.normal(0.2, 0.5))))
    dapple = Image.fromarray(rng.integers(104, 152, (5, 5), dtype=np.uint8))
    light = np.asarray(dapple.resize(small.size, Image.Resampling.BICUBIC), dtype=np.float32) / 128
    exposure = np.exp(rng.normal(0, EXPOSURE_SPREAD) + rng.normal(0, CAST_SPREAD, 3))
    pixels = np.asarray(small, dtype=np.float32) * light[..., None] * exposure.astype(np.float32)
    haze = np.float32(rng.uniform(0, 0.1))
    pixels += haze * (np.float32(rng.uniform(110, 220)) - pixels)
    pixels = (pixels - GREY) * CONTRAST + GREY
    noise = rng.standard_normal(pixels.shape, dtype=np.float32)
    pixels += noise * np.float32(rng.uniform(1, 7))
    return np.clip(pixels, 0, 255).astype(np.uint8)

"""Shapes and the brush that paints them: outlines in the figure's own units, filled on a canvas.

In: outlines, arrays (N, 2), x to the right and y down, in any unit; a camera that maps them to
pixels. Out: painted Pillow images. Fur is an outline with ragged tips, painted as nested bands that
get lighter towards the light. Next on the path: `drawn_anatomy` and `drawn_scene` paint with it.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from jobs.drawn_species import Colour

Points = NDArray[np.float64]  # (N, 2)

# Shadow side, middle and lit side of a furry part: size, shift towards the light, brightness.
FUR_BANDS = ((1.0, 0.0, 0.8), (0.86, 0.06, 1.12), (0.55, 0.16, 1.3))


def points(*pairs: tuple[float, float]) -> Points:
    """Points from pairs of numbers."""
    return np.array(pairs, dtype=np.float64)


def scaled(colour: Colour, factor: float) -> Colour:
    """The colour, `factor` times as bright, clipped to bytes."""
    red, green, blue = (max(0, min(255, round(value * factor))) for value in colour)
    return red, green, blue


@lru_cache
def _circle(num_points: int) -> Points:
    turn = np.arange(num_points) * (2 * np.pi / num_points)
    return np.stack([np.cos(turn), np.sin(turn)], axis=1)


def oval(centre: Points, width: float, height: float, num_points: int = 28) -> Points:
    """Outline of an upright ellipse with half axes `width` and `height` around `centre` (2,)."""
    outline: Points = _circle(num_points) * (width, height) + centre
    return outline


@lru_cache
def _bernstein(degree: int, num_points: int) -> NDArray[np.float64]:
    t = np.linspace(0, 1, num_points)[:, None]
    k = np.arange(degree + 1)
    weights: NDArray[np.float64] = t**k * (1 - t) ** (degree - k)
    return weights * [math.comb(degree, i) for i in range(degree + 1)]


def bezier(controls: Points, num_points: int = 14) -> Points:
    """Points along the Bézier curve of `controls` (K, 2)."""
    curve: Points = _bernstein(len(controls) - 1, num_points) @ controls
    return curve


def turned(outline: Points, angle: float) -> Points:
    """The outline turned by `angle` (radians, clockwise as y points down) around the origin."""
    cos, sin = math.cos(angle), math.sin(angle)
    rotated: Points = outline @ np.array([[cos, sin], [-sin, cos]])
    return rotated


def _unit(vectors: Points) -> Points:
    unit: Points = vectors / np.maximum(np.hypot(vectors[:, 0], vectors[:, 1]), 1e-9)[:, None]
    return unit


def strip(path: Points, half_widths: NDArray[np.float64]) -> Points:
    """Outline of a stroke along `path` (N, 2) with `half_widths` (N,) and rounded ends."""
    padded = np.concatenate([path[:1], path, path[-1:]])
    along = _unit(padded[2:] - padded[:-2]) * half_widths[:, None]
    across = along[:, ::-1] * (-1, 1)
    ends = path[:1] - along[:1], path[-1:] + along[-1:]
    return np.concatenate([ends[0], path + across, ends[1], (path - across)[::-1]])


def ragged(outline: Points, length: float, rng: np.random.Generator) -> Points:
    """The outline with tips of fur, about `length` long, standing out of it."""
    closed = np.concatenate([outline, outline[:1]])
    steps = closed[1:] - closed[:-1]
    travelled = np.concatenate([[0.0], np.cumsum(np.hypot(steps[:, 0], steps[:, 1]))])
    perimeter = float(travelled[-1])
    num_tips = min(90, max(16, int(perimeter / max(length, 0.03) * 1.3)))
    at = np.arange(2 * num_tips) * (perimeter / (2 * num_tips))
    x, y = np.interp(at, travelled, closed[:, 0]), np.interp(at, travelled, closed[:, 1])
    even = np.stack([x, y], axis=1)
    reach = rng.uniform(0.3, 1.0, 2 * num_tips) * length
    reach[::2] *= -0.15
    even += _unit(even - outline.mean(axis=0)) * reach[:, None]
    even[:, 1] += np.abs(reach) * 0.4  # tips hang down a little
    return even


class Brush:
    """Paints outlines on one image through an affine camera."""

    def __init__(
        self,
        image: Image.Image,
        rng: np.random.Generator,
        camera: NDArray[np.float64] | None = None,
        light: Points | None = None,
    ) -> None:
        """`camera` (2, 3) maps outlines to pixels; `light` (2,) points towards the light."""
        self.camera = np.eye(2, 3) if camera is None else camera
        self.light = np.zeros(2) if light is None else light
        self._rng = rng
        self._draw = ImageDraw.Draw(image)

    def fill(self, outline: Points, colour: Colour) -> None:
        """Fill the outline with one opaque colour."""
        pixels = outline @ self.camera[:, :2].T + self.camera[:, 2]
        self._draw.polygon(pixels.ravel().tolist(), fill=colour)

    def stroke(self, path: Points, half_width: float, colour: Colour) -> None:
        """Paint a line of constant width along `path` (N, 2)."""
        self.fill(strip(path, np.full(len(path), half_width)), colour)

    def fur(self, outline: Points, colour: Colour, length: float) -> None:
        """Paint a round furry part: ragged, darker at its edge, lighter towards the light."""
        tips = ragged(outline, length, self._rng)
        centre = outline.mean(axis=0)
        extent = float(np.ptp(outline, axis=0).min())
        for size, shift, brightness in FUR_BANDS:
            band = centre + (tips - centre) * size + self.light * (shift * extent)
            self.fill(band, scaled(colour, brightness))

    def furry_limb(
        self, path: Points, half_widths: NDArray[np.float64], colour: Colour, length: float
    ) -> None:
        """Paint a long furry part along `path` (N, 2) with `half_widths` (N,)."""
        for size, shift, brightness in FUR_BANDS:
            lit = path + self.light * (shift * 2 * half_widths[:, None])
            outline = ragged(strip(lit, half_widths * size), length * size, self._rng)
            self.fill(outline, scaled(colour, brightness))

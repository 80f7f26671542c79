"""The figure of a species in a pose: tail, limbs, torso and head, painted back to front.

In: a `Species`, a `Pose` with the species' limb length, and a brush whose camera maps torso lengths
to pixels. Out: the painted figure. Next on the path: `drawn_scene` places the figure.
"""

import numpy as np

from jobs.drawn_brush import Brush, Points, bezier, oval, points, scaled, strip
from jobs.drawn_poses import Pose
from jobs.drawn_species import Colour, Species

FAR_SIDE = 0.74  # brightness of the limbs on the side away from the viewer
LIMB_TAPER = np.linspace(1.15, 0.75, 14)


def paint_figure(brush: Brush, species: Species, pose: Pose) -> None:
    """Paint the animal, back to front."""
    _tail(brush, species, pose)
    if not pose.is_frontal:
        _limb(brush, species, pose.far_arm, FAR_SIDE)
        _limb(brush, species, pose.far_leg, FAR_SIDE)
    _torso(brush, species, pose)
    if pose.is_frontal:
        _limb(brush, species, pose.far_arm, 1.0)
        _limb(brush, species, pose.far_leg, 1.0)
    _limb(brush, species, pose.near_leg, 1.0)
    _limb(brush, species, pose.near_arm, 1.0)
    HeadPainter(brush, species, pose).paint()


def _tail(brush: Brush, species: Species, pose: Pose) -> None:
    num_steps = 26
    along = np.linspace(0, 1, num_steps)
    angle = pose.tail_angle + pose.tail_bend * along**1.5
    step = species.tail_length / num_steps
    path = pose.hip + np.cumsum(np.stack([np.cos(angle), np.sin(angle)], axis=1) * step, axis=0)
    path += np.array([-0.1 * (not pose.is_frontal), 0.1])
    widths = species.tail_width * (1.1 - 0.35 * along)
    brush.furry_limb(path, widths, species.tail, species.shag * 0.6)
    if species.tail_tip is None:
        return
    if species.is_tail_ringed:
        for start in range(2, num_steps - 2, 4):
            ring = slice(start, start + 3)
            brush.fill(strip(path[ring], widths[ring] * 1.1), species.tail_tip)
    tip = slice(num_steps * 2 // 3, None)
    brush.furry_limb(path[tip], widths[tip], species.tail_tip, species.shag * 0.6)


def _limb(brush: Brush, species: Species, joints: Points, brightness: float) -> None:
    root, bend, end = joints
    # The control point lies beyond the joint, so that the curve passes near it.
    path = bezier(np.stack([root, bend + (bend - (root + end) / 2) * 0.7, end]))
    widths = species.limb_width * LIMB_TAPER
    brush.fur(oval(end, species.limb_width * 0.95, species.limb_width * 0.62), species.hand, 0.0)
    lower, upper = slice(6, None), slice(0, 9)
    for part, colour in ((lower, species.forelimb or species.limb), (upper, species.limb)):
        tinted = scaled(colour, brightness)
        brush.furry_limb(path[part], widths[part], tinted, species.shag * 0.7)
    fingers = [end + np.array([species.limb_width * shift, 0.01]) for shift in (-0.4, 0.1, 0.6)]
    for finger in fingers:
        pad = oval(finger, species.limb_width * 0.32, species.limb_width * 0.5, 10)
        brush.fill(pad, scaled(species.hand, brightness * 0.9))


def _torso(brush: Brush, species: Species, pose: Pose) -> None:
    spine = pose.chest - pose.hip
    ventral = np.array([-spine[1], spine[0]])
    back = (pose.hip + pose.chest) / 2 - ventral * (0.0 if pose.is_frontal else 0.12)
    path = bezier(np.stack([pose.hip - spine * 0.12, back, pose.chest + spine * 0.15]))
    bulge = np.sin(np.linspace(0.75, 2.5, len(path)))
    widths = species.girth * bulge
    brush.furry_limb(path, widths, species.coat, species.shag)
    aside = ventral * (0.0 if pose.is_frontal else species.girth * 0.62)
    belly_width = 0.55 if pose.is_frontal else 0.38
    brush.furry_limb(
        path[2:-2] + aside, widths[2:-2] * belly_width, species.belly, species.shag / 2
    )
    if species.mantle is not None:
        sides = (-1.05, 1.05) if pose.is_frontal else (-0.3,)
        for side in sides:
            flank = path[3:-3] + ventral * species.girth * side
            brush.furry_limb(flank, widths[3:-3] * 0.25, species.mantle, species.shag * 1.4)
    if species.chest is not None:
        brush.fur(
            oval(pose.chest, species.girth, species.girth * 0.85), species.chest, species.shag
        )


class HeadPainter:
    """Paints a head whose radius is 1, turned by the pose's yaw and tilted by its roll."""

    def __init__(self, brush: Brush, species: Species, pose: Pose) -> None:
        self._brush = brush
        self._species = species
        self._yaw = pose.yaw
        self._centre = pose.head
        cos, sin = np.cos(pose.roll), np.sin(pose.roll)
        self._turn = np.array([[cos, -sin], [sin, cos]]) * species.head_size

    def _place(self, outline: Points) -> Points:
        return self._centre + outline @ self._turn.T

    def _oval(self, x: float, y: float, width: float, height: float, depth: float = 0.0) -> Points:
        """An ellipse at `depth` (1 is the tip of the muzzle), shifted by the yaw accordingly."""
        return self._place(oval(np.array([x + self._yaw * depth * 0.5, y]), width, height))

    def _fur(self, outline: Points, colour: Colour, length: float = 0.1) -> None:
        self._brush.fur(outline, colour, length * self._species.head_size)

    def paint(self) -> None:
        """Paint the head, back to front."""
        species, fur = self._species, self._fur
        shag = 0.06 + species.shag * 1.5
        if species.ruff is not None:
            size = 1.0 + species.ruff_size
            fur(self._oval(0, 0.08, size, size), species.ruff, 0.12 + species.ruff_size * 0.25)
        self._ears()
        fur(self._oval(0, 0.05, 0.95, 0.98), species.head, shag)
        if species.beard is not None:
            fur(self._oval(0, 0.8, 0.55, 0.5, 0.5), species.beard, 0.3)
        crown_tips = 0.0 if species.is_bald else shag
        fur(self._oval(0, -0.42, 0.8, 0.52, 0.1), species.crown, crown_tips)
        fur(self._oval(0, 0.1, species.face_width, 0.72, 0.45), species.face, 0.04)
        if species.is_bald:
            fur(self._oval(0, -0.4, 0.7, 0.5, 0.25), species.crown, 0.0)
        elif not species.has_brow_stripes:
            fur(self._oval(0, -0.62, species.face_width * 0.9, 0.3, 0.35), species.crown, shag)
        self._eyes()
        self._muzzle()

    def _ears(self) -> None:
        size = self._species.ear_size
        if size == 0:
            return
        for side in (-1, 1):
            seen = size * (1 - 0.45 * side * self._yaw)
            x = side * (0.92 + size * 0.35) - self._yaw * 0.1
            self._fur(self._oval(x, -0.1, seen, size * 1.15), self._species.ear, 0.03)
            inner = scaled(self._species.ear, 0.7)
            self._brush.fill(self._oval(x, -0.08, seen * 0.55, size * 0.65), inner)

    def _eyes(self) -> None:
        species, fill = self._species, self._brush.fill
        size = species.eye_size
        for side in (-1, 1):
            x, y = side * (0.2 + size * 0.75), -0.08
            if species.eye_mask is not None:
                self._fur(
                    self._oval(x, y - 0.04, size + 0.16, size + 0.2, 0.5), species.eye_mask, 0.05
                )
            fill(self._oval(x, y, size * 1.25, size * 1.2, 0.55), (30, 24, 22))
            fill(self._oval(x, y, size, size, 0.55), species.iris)
            fill(self._oval(x, y, size * 0.6, size * 0.66, 0.6), (12, 10, 10))
            glint = size * 0.24
            fill(self._oval(x - size * 0.3, y - size * 0.35, glint, glint, 0.6), (250, 250, 246))
        if species.has_brow_stripes:
            for x, lean in ((-0.62, 0.1), (0.0, 0.0), (0.62, -0.1)):
                shift = self._yaw * 0.2
                line = points(
                    (x * 0.9 + shift, -0.7), (x + lean + shift, -0.5), (x * 0.9 + shift, -0.2)
                )
                width = 0.1 * species.head_size
                self._brush.stroke(self._place(line), width, species.crown)

    def _muzzle(self) -> None:
        species, fill = self._species, self._brush.fill
        size = species.muzzle_size
        self._fur(self._oval(0, 0.45, size, size * 0.85, 0.75), species.muzzle, 0.03)
        if species.moustache is not None:
            for side in (-1, 1):
                self._fur(self._oval(side * 0.24, 0.52, 0.26, 0.14, 0.8), species.moustache, 0.12)
        dark = scaled(species.muzzle, 0.42)
        for side in (-1, 1):
            fill(self._oval(side * 0.09, 0.32, 0.06, 0.045, 0.9), dark)
        x = self._yaw * 0.42
        smile = points((-size * 0.55, 0.55), (0, 0.72), (size * 0.55, 0.55)) + np.array([x, 0.0])
        self._brush.stroke(self._place(bezier(smile)), 0.035 * species.head_size, dark)

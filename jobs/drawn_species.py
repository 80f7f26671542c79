"""What tells the ten drawn species apart: coat, face, ears, tail and build, as plain values.

In: nothing. Out: `SPECIES`, one entry a class in the order n0 ... n9, which `drawn_anatomy` turns
into a figure. Everything that is *not* here (pose, place, light, background, what stands in front)
is drawn from the same distributions for all species, so that only the animal gives the class away.

The cues follow the living animals; colours are those of daylight, before `drawn_scene` casts its
own light on them. Lengths are in units of the torso's length, or of the head's radius for parts
of the head.
"""

from dataclasses import dataclass

Colour = tuple[int, int, int]

DARK: Colour = (56, 50, 50)


@dataclass(frozen=True)
class Species:
    """One species; an optional colour is None where the animal has no such mark."""

    name: str
    # Coat.
    coat: Colour
    belly: Colour
    limb: Colour
    hand: Colour
    shag: float  # length of the fur's tips, torso lengths
    forelimb: Colour | None = None  # below elbow and knee, where it differs from `limb`
    mantle: Colour | None = None  # fringe along the flank
    chest: Colour | None = None  # shoulders and chest
    # Head; lengths in head radii.
    head: Colour = DARK  # fur of the sides
    crown: Colour = DARK
    face: Colour = DARK
    muzzle: Colour = DARK
    ear: Colour = DARK
    ear_size: float = 0.28
    eye_size: float = 0.13
    iris: Colour = (92, 56, 30)
    face_width: float = 0.62
    muzzle_size: float = 0.4
    ruff: Colour | None = None
    ruff_size: float = 0.3  # how far the ruff stands out
    beard: Colour | None = None
    eye_mask: Colour | None = None  # pale patches around the eyes
    moustache: Colour | None = None
    is_bald: bool = False
    has_brow_stripes: bool = False  # three dark stripes over pale brows
    # Build.
    head_size: float = 0.36
    girth: float = 0.3  # half the torso's width
    limb_length: float = 1.0
    limb_width: float = 0.11
    tail: Colour = DARK
    tail_tip: Colour | None = None
    tail_length: float = 1.2
    tail_width: float = 0.065
    is_tail_ringed: bool = False


SPECIES: tuple[Species, ...] = (
    Species(
        name="mantled howler",
        coat=(65, 51, 46),
        belly=(78, 62, 51),
        limb=(59, 49, 43),
        hand=(46, 40, 40),
        shag=0.07,
        mantle=(178, 122, 58),
        head=(68, 54, 47),
        crown=(78, 59, 49),
        face=(86, 73, 70),
        muzzle=(105, 89, 84),
        ear=(65, 54, 51),
        ear_size=0.18,
        beard=(100, 70, 51),
        muzzle_size=0.5,
        girth=0.34,
        limb_width=0.125,
        tail_length=1.35,
        tail_width=0.075,
    ),
    Species(
        name="patas monkey",
        coat=(186, 98, 48),
        belly=(232, 218, 196),
        limb=(204, 134, 80),
        forelimb=(230, 214, 190),
        hand=(212, 192, 166),
        shag=0.03,
        head=(190, 120, 72),
        crown=(176, 78, 34),
        face=(150, 132, 124),
        muzzle=(110, 98, 96),
        ear=(140, 108, 92),
        moustache=(240, 234, 222),
        ruff=(222, 196, 160),
        ruff_size=0.12,
        muzzle_size=0.46,
        girth=0.21,
        limb_length=1.3,
        limb_width=0.08,
        head_size=0.32,
        tail=(190, 112, 62),
        tail_tip=(214, 178, 134),
        tail_length=1.2,
        tail_width=0.05,
    ),
    Species(
        name="bald uakari",
        coat=(172, 124, 82),
        belly=(180, 110, 66),
        limb=(164, 104, 62),
        hand=(120, 78, 62),
        shag=0.12,
        head=(186, 140, 96),
        crown=(198, 44, 40),
        face=(206, 42, 38),
        muzzle=(184, 38, 38),
        ear=(192, 56, 50),
        ear_size=0.26,
        face_width=0.7,
        iris=(150, 96, 40),
        is_bald=True,
        girth=0.35,
        limb_width=0.135,
        tail=(164, 110, 70),
        tail_length=0.3,
        tail_width=0.1,
    ),
    Species(
        name="Japanese macaque",
        coat=(146, 132, 110),
        belly=(176, 166, 148),
        limb=(140, 126, 106),
        hand=(110, 92, 84),
        shag=0.09,
        head=(154, 142, 120),
        crown=(138, 124, 102),
        face=(224, 138, 126),
        muzzle=(230, 156, 142),
        ear=(204, 144, 130),
        ear_size=0.2,
        ruff=(184, 174, 154),
        ruff_size=0.25,
        face_width=0.58,
        iris=(168, 112, 40),
        girth=0.36,
        limb_width=0.14,
        tail=(142, 128, 108),
        tail_length=0.22,
        tail_width=0.08,
    ),
    Species(
        name="pygmy marmoset",
        coat=(150, 118, 72),
        belly=(196, 150, 88),
        limb=(164, 124, 70),
        forelimb=(184, 138, 76),
        hand=(176, 134, 84),
        shag=0.06,
        head=(142, 106, 62),
        crown=(128, 98, 60),
        face=(182, 142, 100),
        muzzle=(206, 182, 150),
        ear=(150, 112, 70),
        ear_size=0.0,
        ruff=(156, 114, 62),
        ruff_size=0.38,
        muzzle_size=0.3,
        girth=0.27,
        limb_length=0.8,
        limb_width=0.085,
        head_size=0.42,
        tail=(162, 128, 80),
        tail_tip=(74, 58, 42),
        tail_length=1.4,
        tail_width=0.075,
        is_tail_ringed=True,
    ),
    Species(
        name="white-headed capuchin",
        coat=(52, 45, 45),
        belly=(70, 60, 55),
        limb=(50, 44, 44),
        hand=(50, 45, 45),
        shag=0.04,
        chest=(232, 218, 188),
        head=(238, 226, 200),
        crown=(50, 42, 42),
        face=(226, 184, 164),
        muzzle=(216, 172, 154),
        ear=(220, 190, 166),
        ear_size=0.24,
        girth=0.28,
        tail_length=1.3,
    ),
    Species(
        name="silvery marmoset",
        coat=(206, 202, 192),
        belly=(222, 214, 198),
        limb=(204, 198, 186),
        forelimb=(198, 190, 176),
        hand=(176, 160, 142),
        shag=0.05,
        head=(220, 216, 206),
        crown=(214, 210, 200),
        face=(226, 150, 134),
        muzzle=(214, 136, 124),
        ear=(232, 148, 132),
        ear_size=0.46,
        face_width=0.56,
        muzzle_size=0.32,
        girth=0.26,
        limb_length=0.85,
        limb_width=0.085,
        head_size=0.38,
        tail=(58, 52, 50),
        tail_tip=(44, 40, 40),
        tail_length=1.35,
        tail_width=0.06,
    ),
    Species(
        name="common squirrel monkey",
        coat=(140, 128, 84),
        belly=(228, 212, 168),
        limb=(152, 138, 92),
        forelimb=(222, 160, 52),
        hand=(226, 158, 46),
        shag=0.03,
        head=(150, 140, 110),
        crown=(66, 62, 56),
        face=(240, 232, 214),
        muzzle=(40, 36, 38),
        ear=(236, 220, 196),
        ear_size=0.3,
        eye_mask=(250, 246, 236),
        muzzle_size=0.44,
        eye_size=0.15,
        girth=0.22,
        limb_width=0.08,
        head_size=0.34,
        tail=(146, 134, 94),
        tail_tip=(34, 32, 34),
        tail_length=1.35,
        tail_width=0.05,
    ),
    Species(
        name="black-headed night monkey",
        coat=(124, 112, 96),
        belly=(206, 142, 78),
        limb=(122, 110, 94),
        forelimb=(106, 96, 84),
        hand=(66, 58, 54),
        shag=0.06,
        head=(92, 84, 76),
        crown=(42, 38, 38),
        face=(224, 216, 202),
        muzzle=(150, 130, 116),
        ear=(96, 82, 74),
        ear_size=0.12,
        eye_size=0.27,
        iris=(204, 124, 34),
        eye_mask=(240, 234, 222),
        has_brow_stripes=True,
        muzzle_size=0.3,
        girth=0.29,
        limb_width=0.1,
        head_size=0.38,
        tail=(140, 106, 72),
        tail_tip=(32, 30, 32),
        tail_length=1.15,
        tail_width=0.085,
    ),
    Species(
        name="Nilgiri langur",
        coat=(48, 45, 50),
        belly=(56, 53, 59),
        limb=(45, 42, 48),
        hand=(36, 36, 42),
        shag=0.04,
        head=(168, 128, 72),
        crown=(150, 108, 56),
        face=(56, 50, 59),
        muzzle=(73, 64, 73),
        ear=(62, 53, 59),
        ear_size=0.2,
        ruff=(178, 136, 76),
        ruff_size=0.3,
        girth=0.25,
        limb_length=1.2,
        limb_width=0.085,
        head_size=0.33,
        tail_length=1.7,
        tail_width=0.05,
    ),
)

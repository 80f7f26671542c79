"""What each item of a loadout is worth: the loadout beside the same loadout without it.

    worth     the variants to run, and what came of them
    table     that, for people
    picture   that, as a diagram

Used by `gamectl ablate`, which runs the variants as jobs of a side cohort.
"""

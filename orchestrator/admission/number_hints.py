"""How to write a number that a file has as text.

In: the text, and the key that it stands under. Out: what to write instead, in words that end a
problem's message. Used by `problems`.
"""

import re
from math import isfinite

from orchestrator.admission.yaml_nodes import resolve

_WITH_UNIT = re.compile(r"([-+]?[0-9]*\.?[0-9]+) *(%|°|[A-Za-z]+)")
_SECONDS = {"s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hr": 3600,
            "hour": 3600, "d": 86400, "day": 86400}  # fmt: skip
_MIB = {"m": 1, "mb": 1, "mib": 1, "g": 1024, "gb": 1024, "gib": 1024, "t": 1 << 20, "tb": 1 << 20,
        "tib": 1 << 20}  # fmt: skip
MOST = 1e6
"""No setting is as large."""
_THOUSANDS = ("k", "K")
_PLAIN_UNITS = {"°", "deg", "degs", "degree", "degrees", "px", "pixel", "pixels", "epoch", "epochs",
                "image", "images", "member", "members", "network", "networks", "block", "blocks",
                "cpu", "cpus", "core", "cores", "gpu", "gpus", "thread", "threads", "bnn", "x",
                "times"}  # fmt: skip
"""What a setting may be counted in."""
_UNITS = {"Seconds": ("seconds", _SECONDS), "Mib": ("MiB", _MIB)}
"""By how a setting's name ends: what it is counted in, and how many of these another unit has."""


def number_hint(given: object, name: object, *, whole: bool) -> str:
    """Say how to write a number that was given as text, or nothing where none is in it."""
    if isinstance(given, float) and whole and given.is_integer() and 0 < given < MOST:
        return f"; write {given:.0f}"
    if not isinstance(given, str):
        return ""
    text = given.strip()
    if _is_number(text, whole=whole):
        return f"; write {text} without quotes"
    if re.fullmatch(r"[-+]?[0-9]+,[0-9]+", text) and not whole:
        return f"; write {text.replace(',', '.')}, with a point"
    match = _WITH_UNIT.fullmatch(text)
    if match is None:
        return ""
    number, unit = match.groups()
    for ending, (counted_in, sizes) in _UNITS.items():
        if str(name).endswith(ending):
            return _in_units(float(number), unit.lower(), counted_in, sizes, whole)
    if not _is_number(number, whole=whole):
        return ""
    if unit == "%":
        share = float(number) / 100
        return f"; write {share:g}, without %" if not whole and share <= 1 else ""
    if unit in _THOUSANDS:
        return f"; write {float(number) * 1000:.0f}"
    return f"; write {number}, without a unit" if unit.lower() in _PLAIN_UNITS else ""


def _in_units(number: float, unit: str, counted_in: str, sizes: dict[str, int], whole: bool) -> str:
    size = sizes.get(unit, sizes.get(unit.removesuffix("s")))
    if size is None or (whole and not (number * size).is_integer()):
        return f", of {counted_in}, without a unit"
    counted = number * size
    return f"; write {int(counted) if counted.is_integer() else counted}, in {counted_in}"


def _is_number(text: str, *, whole: bool) -> bool:
    value = resolve(text)
    return type(value) is int or (type(value) is float and not whole and isfinite(value))

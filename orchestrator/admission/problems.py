"""What pydantic finds wrong with a file's values -> problems in plain words.

In: the errors of `Model.from_file` and the `Document` whose values were checked; out: one
`LocatedProblem` for each, with a code, the value as it was written, what is allowed and, for a
misspelt key or item, the nearest right one. Next: `files` puts them at their lines.
"""

import re
import unicodedata
from collections.abc import Mapping, Sized
from types import NoneType
from typing import Any, cast, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from orchestrator.admission.admit import LocatedProblem
from orchestrator.admission.combinations import PURCHASES
from orchestrator.admission.enchanter import MEMBER_ITEMS, EnsembleEnchanter, Member, MemberItems
from orchestrator.admission.indentation import TOP_LEVEL
from orchestrator.admission.list_hints import list_mark_hint, members_hint
from orchestrator.admission.manifest import Model
from orchestrator.admission.number_hints import number_hint
from orchestrator.admission.purchase import Purchase
from orchestrator.admission.shop import CATALOG, item_called, nearest, unknown_item
from orchestrator.admission.yaml_places import Document, Loc
from orchestrator.console import shortened

# pydantic's type of an error -> our code and what is wanted
_WANTED = {
    "int_type": ("not-a-number", "a whole number is wanted"),
    "float_type": ("not-a-number", "a number is wanted"),
    "finite_number": ("not-a-number", "a finite number is wanted"),
    "bool_type": ("wrong-type", "true or false is wanted"),
    "model_type": ("wrong-type", "a mapping (lines of `key: value`) is wanted"),
    "dict_type": ("wrong-type", "a mapping (lines of `key: value`) is wanted"),
    "model_attributes_type": ("wrong-type", "a mapping such as `item: ITEM` is wanted"),
    "tuple_type": ("wrong-type", "a list (lines of `- ...`) is wanted"),
}
_MAPPING_TYPES = ("model_type", "dict_type", "model_attributes_type")
_BOUNDS = {
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "less than {lt}",
    "less_than_equal": "{le} or less",
}
_COUNTS = {
    "too_short": "at least {min_length} are wanted",
    "too_long": "at most {max_length} are read",
}
BOUGHT_FOR_ALL = "what is bought is the same for all"
_LABELS = {"string_pattern_mismatch", "string_too_long", "string_too_short"}
_MAX_LABEL = 63
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"})
_NO_COLON = re.compile(r"([A-Za-z][\w-]*)( *[:=] *| +)(\S+)", re.ASCII)


def explain(error: ValidationError, model: type[Model], document: Document) -> list[LocatedProblem]:
    """Put every error into plain words; `model` is what the document was read as."""
    return [
        _explained(details, model, document)
        for details in error.errors(include_url=False)
        if not _is_echo(details, document)
    ]


def _is_echo(details: ErrorDetails, document: Document) -> bool:
    """Whether it is only there because of another thing that is wrong, and reported too."""
    kind, given, loc = details["type"], details["input"], details["loc"]
    if kind == "too_short":  # for an entry that is wrong
        return len(given) >= int(details["ctx"]["min_length"])
    if kind == "missing":  # for a key that has no space behind its colon
        return any(str(key).startswith(f"{loc[-1]}:") for key in given)
    misplaced = document.keys.get((*loc[:-1], "spec"))
    if kind == "extra_forbidden" and loc[:-1] == ("metadata",) and misplaced is not None:
        return document.keys[loc].line > misplaced.line  # for a section that is indented
    return False


def _explained(details: ErrorDetails, model: type[Model], document: Document) -> LocatedProblem:
    loc = _loc_in_file(details["loc"], document.root)
    kind, given, ctx = details["type"], details["input"], details.get("ctx", {})
    name = loc[-1] if loc and isinstance(loc[-1], str) else "the entry"
    is_given = f"{name} is {written(document, loc, given)}"
    code, message = kind, details["msg"]  # as our own validators say it
    if kind == "extra_forbidden":
        section = _indented_section(loc, document)
        code, message = ("unknown-key", section) if section else _unknown_key(details["loc"], model)
    elif kind == "missing":
        sold = f"; see `gamectl shop {given['item']}`" if given.get("item") in CATALOG else ""
        code, message = "missing-key", f"the key {name!r} is missing{sold}"
    elif kind == "union_tag_not_found":
        code, message = "missing-key", _no_item(given)
    elif kind == "union_tag_invalid":
        loc = (*loc, "item")
        code, message = "unknown-item", unknown_item(written(document, loc, given["item"]))
    elif kind in _LABELS:
        code, message = "not-a-label", f"{is_given}; {_label_rule(str(given))}"
    elif kind == "string_type":
        code, message = "wrong-type", f'{is_given}; text is wanted (in quotes: "...")'
    elif kind == "literal_error":
        options = tuple(re.findall(r"'([^']*)'", ctx["expected"]))
        hint = nearest(str(given), options)
        code, message = "not-allowed", f"{is_given}; allowed is {' or '.join(options)}{hint}"
    elif kind in _COUNTS:
        wanted = _COUNTS[kind].format(**ctx)
        counted = len(given) if isinstance(given, Sized) else ctx["actual_length"]
        code, message = "out-of-range", f"the number of {name} is {counted}; {wanted}"
    elif kind in _BOUNDS:
        bound = {key: f"{x:g}" if isinstance(x, float) else x for key, x in ctx.items()}
        code, message = "out-of-range", f"{is_given}; allowed is {_BOUNDS[kind].format(**bound)}"
    elif kind in _WANTED:
        code, wanted = _WANTED[kind]
        hint = _entry_hint(given, loc, document) or _colon_hint(given, kind)
        if code == "not-a-number":
            hint = number_hint(given, name, whole=kind == "int_type")
        elif kind == "tuple_type":
            first = str(next(iter(given), "")) if isinstance(given, Mapping) else ""
            hint = list_mark_hint(first) or members_hint(name, given) or hint
        message = f"{is_given}; {wanted}{hint}"
    return LocatedProblem(loc, code, message)


def written(document: Document, loc: Loc, value: object) -> str:
    """Return a value as its file has it, quoted if it is text; mappings and lists by their kind."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    place = document.values.get(loc)
    text = shortened(str(value) if place is None or place.text is None else place.text)
    return f"'{text}'" if isinstance(value, str) else text


def _loc_in_file(loc: Loc, root: object) -> Loc:
    """Leave out of pydantic's path what is not in the file: the tag of a union, `[key]`."""
    path: list[str | int] = []
    value: Any = root
    for step in loc:
        is_mapping = isinstance(value, Mapping)
        if step == "[key]" or (is_mapping and step not in value and value.get("item") == step):
            continue
        path.append(step)
        if is_mapping:
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            value = None
    return tuple(path)


def _indented_section(loc: Loc, document: Document) -> str:
    """Say so where `spec:`, or another key of the top, is indented below one; else nothing."""
    if len(loc) != 2 or loc[0] not in ("metadata", "spec") or loc[1] not in TOP_LEVEL:
        return ""
    if loc[:1] in document.flows:
        return ""
    keys = ", and indent its keys" if loc[1] in ("metadata", "spec") else ""
    return f"'{loc[1]}' is indented, so it counts as part of {loc[0]}: start it in column 1{keys}"


def _unknown_key(loc: Loc, model: type[Model]) -> tuple[str, str]:
    """Say what could stand in place of an unknown key. `loc` is pydantic's own path to it."""
    key = str(loc[-1])
    holder = model_at(model, loc[:-1])
    if holder is MemberItems and key in CATALOG:
        reason = "; ".join(CATALOG[key].shared.values()) or BOUGHT_FOR_ALL
        return "not-tunable", f"members cannot differ in {key}: {reason}"
    owners = _owners(key) if holder is Member and key not in ("item", "members") else []
    if owners == [EnsembleEnchanter]:
        return "unknown-key", f"unknown key '{key}'; it belongs to the ensemble, beside `members:`"
    if owners and not _owners(key, tunable=True):
        reason = "; ".join(owners[0].shared.values()) or BOUGHT_FOR_ALL
        return "not-tunable", f"members cannot differ in {key} of {owners[0].key()}: {reason}"
    known = _keys(holder)
    hint = (
        list_mark_hint(key)
        or _place_hint(key, loc, holder, model)
        or nearest(key, known)
        or f"; allowed is {', '.join(known) or 'none'}"
    )
    return "unknown-key", f"unknown key '{shortened(key)}'{hint}"


def _place_hint(key: str, loc: Loc, holder: type[Model], model: type[Model]) -> str:
    """Say where a key belongs that is right in another place of the file, or nothing."""
    is_top = len(loc) == 1
    for section in ("metadata", "spec"):
        if key in _keys(model_at(model, (section,))):
            return f"; it belongs under {section}" + (": indent it" if is_top else "")
    spec = model_at(model, ("spec",))
    if "purchases" not in spec.model_fields:
        sections = [name for name in _keys(spec) if key in _keys(model_at(model, ("spec", name)))]
        where = " or ".join(sections if holder is spec else [f"spec, {it}" for it in sections])
        return f"; it belongs under {where}" if sections else ""
    if key == "item":
        if holder is Member:
            return "; a member's own parameters of an item are `items: {ITEM: {PARAMETER: VALUE}}`"
        return "; what is bought stands below `purchases:`, each as `- item: ITEM`"
    if holder is Member and key in _keys(MemberItems):
        return f"; a member's own parameters of it are `items: {{{key}: {{PARAMETER: VALUE}}}}`"
    owners = [item.key() for item in _owners(key, tunable=holder is Member)]
    if not owners or holder is model_at(model, ("metadata",)):
        return ""
    owner = " or ".join(owners)
    if holder is Member:
        return f"; it belongs under items, {owner}"
    if issubclass(holder, Purchase):
        return f"; it is a parameter of {owner}; allowed here is {', '.join(_keys(holder))}"
    return f"; it belongs to a purchase: below `- item: {owner}`"


def _owners(key: str, *, tunable: bool = False) -> list[type[Purchase]]:
    """Return the items with a parameter that files call `key`, or those that members may tune."""
    return [
        item
        for item in (MEMBER_ITEMS if tunable else CATALOG.values())
        for name, field in item.model_fields.items()
        if (field.alias or name) == key and (name in item.tunable() or not tunable)
    ]


def _keys(model: object) -> tuple[str, ...]:
    """Return the keys of a mapping, as files have them; none where it is no mapping of ours."""
    if not (isinstance(model, type) and issubclass(model, Model)):
        return ()
    return tuple(field.alias or name for name, field in model.model_fields.items())


def model_at(model: type[Model], loc: Loc) -> type[Model]:
    """Return the model that reads the mapping at pydantic's path `loc`, below `model`."""
    here: Any = model
    for step in loc:
        if isinstance(step, int):
            here = get_args(here)[0]  # the type of a list's entries
        elif isinstance(here, type) and issubclass(here, Model):
            fields = {field.alias or name: field for name, field in here.model_fields.items()}
            here = fields[step].annotation
        else:
            here = CATALOG[step]  # the union of items, and the tag that picks one
        if NoneType in get_args(here):
            here = next(kind for kind in get_args(here) if kind is not NoneType)
    return cast(type[Model], here)


def _no_item(purchase: Mapping[str, object]) -> str:
    if entry := _as_entry(purchase):
        return f"the key 'item' is missing; write {entry}"
    near = [key for key in purchase if nearest(key, ("item",))]
    hint = f"; did you mean item where it says '{shortened(near[0])}'?" if near else ""
    return f"the key 'item' is missing{hint or ': it says what is bought'}"


def _as_entry(given: object) -> str:
    """Return how the shop's item is bought that stands there by its bare name, or nothing."""
    names = [given.get("item"), *given] if isinstance(given, Mapping) else [given]
    items = (item_called(name) for name in names if isinstance(name, str))
    return next((f"`- item: {item.key()}`" for item in items if item is not None), "")


def _entry_hint(given: object, loc: Loc, document: Document) -> str:
    """Say how a purchase is written where it, or all of them, are no list's entry."""
    if loc[: len(PURCHASES)] != PURCHASES or len(loc) > len(PURCHASES) + 1:
        return ""
    entry = _as_entry(given)
    line = ", in a line of its own" if entry and document.flows & {loc, PURCHASES} else ""
    return f": write {entry}{line}" if entry else ""


def _colon_hint(given: object, kind: str) -> str:
    """Say what is missing where a line such as `epochs 3` stands for a mapping, or nothing."""
    if kind not in _MAPPING_TYPES or not isinstance(given, str):
        return ""
    found = _NO_COLON.match(given)
    if found is None:
        return ""
    what = "a space is wanted after the colon:" if ":" in found[2] else "is a colon missing?"
    return f"; {what} `{found[1]}: {shortened(found[3])}`"


def _label_rule(text: str) -> str:
    """Say what a label is and, where one can be made of the text, which."""
    rule = f"allowed are a-z, 0-9 and -, at most {_MAX_LABEL} characters, no - at either end"
    label = as_label(text)
    return f"{rule}; try {label}" if label else rule


def as_label(text: str) -> str:
    """Return the DNS-1123 label that comes nearest to the text; empty where nothing is left."""
    return re.sub(r"[^a-z0-9]+", "-", _in_ascii(text.lower()))[:_MAX_LABEL].strip("-")


def _in_ascii(text: str) -> str:
    """Write umlauts with two letters, and other letters without their accents."""
    parts = unicodedata.normalize("NFKD", unicodedata.normalize("NFC", text).translate(_UMLAUTS))
    return "".join(char for char in parts if not unicodedata.combining(char))

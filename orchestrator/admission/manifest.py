"""What every part of a file's format shares: a strict, immutable, described pydantic model.

In: the values of a YAML file, with camelCase keys; out: Python values, with snake_case names. Files
are read with `Model.from_file`, by their camelCase keys only: there, a snake_case key is unknown.
The formats are in `loadout` and `cohort`; the items that a loadout buys in `items` and `enchanter`.
"""

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, Strict
from pydantic.alias_generators import to_camel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ApiVersion = Literal["game/v1"]

Label = Annotated[
    str,
    Field(
        min_length=1,
        max_length=63,
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        description="a DNS-1123 label: at most 63 of a-z, 0-9 and -, no - at either end",
    ),
]
LearningRate = Annotated[
    float, Field(gt=0, le=10, description="step size of stochastic gradient descent")
]
BatchSize = Annotated[int, Field(ge=1, le=8192, description="images a step")]
Epochs = Annotated[int, Field(ge=1, le=10_000, description="passes over the training images")]
# Beyond 2**53 JSON readers no longer agree on whole numbers.
Seed = Annotated[
    int, Field(ge=0, lt=2**53, description="the same seed and data give the same network")
]

_T = TypeVar("_T")
Listed = Annotated[tuple[_T, ...], Strict(False)]  # a YAML list, kept immutable


class Model(BaseModel):
    """An immutable value that refuses unknown keys, other types and numbers that are not finite."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=True,
    )

    @classmethod
    def from_file(cls, value: object) -> Self:
        """Validate the value of a file, which knows camelCase keys only.

        Raises pydantic's ValidationError, which `problems` puts into plain words.
        """
        return cls.model_validate(value, by_alias=True, by_name=False)

    @classmethod
    def json_schema(cls) -> JsonSchemaValue:
        """Describe the file format as JSON Schema, draft 2020-12."""
        return {"$schema": DIALECT, **cls.model_json_schema(schema_generator=_Schema)}


class _Schema(GenerateJsonSchema):
    """JSON Schema without titles on fields (the key says it) and without null.

    A field that is None in Python is one that the file leaves out; files never say `null`.
    """

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002  # pydantic's
        return False

    def nullable_schema(self, schema: Any) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: Any) -> JsonSchemaValue:
        if schema.get("default", ...) is None:
            return self.generate_inner(schema["schema"])
        made = super().default_schema(schema)
        if "default" in made:
            made["default"] = _without_null(made["default"])
        return made


def _without_null(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _without_null(inner) for key, inner in value.items() if inner is not None}

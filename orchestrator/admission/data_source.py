"""Where a cohort's images lie, as its file says it.

In: the text at `spec.data.source`. Out: the same text, or an error that says what was meant. Used
by `cohort`; `files` looks for a folder.
"""

import re

from pydantic import ValidationInfo
from pydantic_core import PydanticCustomError

from jobs.places import PACKAGES
from orchestrator.admission.gpu_shares import STORED

_SLASH_MISSING = re.compile(rf"({'|'.join(PACKAGES)}|https?):/?([^/].*)", re.IGNORECASE)


def with_both_slashes(source: str, info: ValidationInfo) -> str:
    """Refuse `s3:/BUCKET`, which would be taken for a folder."""
    found = _SLASH_MISSING.fullmatch(source)
    if found is None or (info.context and STORED in info.context):
        return source
    raise PydanticCustomError(
        "not-allowed",
        "source is {source}; did you mean {scheme}://{rest}?",
        {"source": repr(source), "scheme": found[1], "rest": found[2]},
    )

"""Which kind of processor this is, as far as it shows in the last bits of what torch computes.

In: what the system tells of its processor. Out: a short name. `jobs.checkpoint` resumes nothing
that another kind has begun, and teachers' answers are cached by it. Needs no torch, whose import
takes seconds; torch's own names are coarser: its libraries choose among kernels by more than AVX2
or AVX-512.
"""

import functools
import hashlib
import platform
from contextlib import suppress
from pathlib import Path


@functools.cache
def processor(about: Path = Path("/proc/cpuinfo")) -> str:
    """Name it by its instructions, as far as the system lists them."""
    with suppress(OSError):
        for line in about.read_text().splitlines():
            name, _, instructions = line.partition(":")
            if name.strip() in ("flags", "Features"):
                return hashlib.sha256(instructions.encode()).hexdigest()[:16]
    return f"{platform.machine()} {platform.processor()}"

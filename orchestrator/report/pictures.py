"""Photos as small pictures inside a page.

In: which images, by SHA-256, and the files of a data folder. Out: data URIs, WebP. Images are
squeezed into squares, as the networks see them. Next on the path: `html`.
"""

import base64
import io
from collections.abc import Collection, Mapping, Sequence

from PIL import Image

from jobs.decoding import decode_square
from jobs.image_folder import ImageFile

SIDE_PX = 192
QUALITY = 78


def pictures(files: Sequence[ImageFile], wanted: Collection[str]) -> Mapping[str, str]:
    """The data URIs of those that are wanted, by SHA-256; without what is not among the files."""
    places = {file.sha256: file.path for file in files if file.sha256 in wanted}
    return {sha256: data_uri(path.read_bytes()) for sha256, path in places.items()}


def data_uri(photo: bytes) -> str:
    """An image file, made small, as a data URI."""
    small = decode_square(photo, SIDE_PX).transpose(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(small).save(buffer, format="WEBP", quality=QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"

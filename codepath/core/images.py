"""Opening image files from outside: within limits, and with one kind of error for what is none."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator

from PIL import Image

from codepath.core.errors import UserError, reason
from codepath.core.signals import InterruptedRun

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""What is read. Pillow knows others, and runs a program of the machine for one of them (EPS)."""
MOST_PIXELS = 89_478_485
"""Of an image in a data set: as many as Pillow itself opens without a warning."""


class BadImageError(ValueError):
    """A file is no image, is damaged, or too large; the message says what is wrong with it."""


class UnknownImageError(BadImageError):
    """A file is of none of FORMATS."""


class TooManyPixelsError(BadImageError):
    """An image's header says more pixels than are read."""


@contextlib.contextmanager
def opened_image(data: bytes, most_pixels: int = MOST_PIXELS) -> Iterator[Image.Image]:
    """Yield an encoded image with its header read; its pixels are to be taken within the context.

    Args:
        data: the file's content.
        most_pixels: by the header, before memory is taken for them.

    Raises BadImageError for whatever Pillow has to say against the file: it raises errors of many
    types, when a file is opened and when its pixels are read.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if width * height > most_pixels:
                raise TooManyPixelsError(f"{width} x {height} pixels")
            yield image
    except (BadImageError, UserError, InterruptedRun):
        raise
    except Image.DecompressionBombError:
        raise TooManyPixelsError("far too many pixels") from None
    except Image.UnidentifiedImageError:
        raise UnknownImageError(f"it is none of {', '.join(FORMATS)}") from None
    except Exception as error:
        raise BadImageError(reason(error)) from error

"""A checksum that tells whether a run goes on with the images that it began with."""

from __future__ import annotations

import json
import zlib

import numpy as np

from codepath.data import DataSet, FileDataSet
from codepath.data.beton import Beton


def fingerprint(images: DataSet) -> str:
    """A checksum of the training images and labels.

    Of images in files it is of their names, and of how a beton's were made smaller: the same files
    in an archive, a folder or a beton as they are can be exchanged.
    """
    split = images.train
    crc = zlib.crc32(np.ascontiguousarray(split.labels).data)
    if isinstance(images, FileDataSet):
        files = images.train.files
        for index in range(len(split)):
            crc = zlib.crc32(files.member(index).encode(), crc)
        settings = files.manifest["settings"] if isinstance(files, Beton) else {}
        if settings.get("longest"):
            crc = zlib.crc32(json.dumps(settings, sort_keys=True).encode(), crc)
    else:
        crc = zlib.crc32(np.ascontiguousarray(images.train.images).data, crc)
    return f"{len(split)} images {crc:08x}"

"""Copy the first images of each class of an image tar into a smaller one."""

from __future__ import annotations

import argparse
import collections
import tarfile
from pathlib import Path, PurePosixPath


def main() -> None:
    """`python tests/subset_images.py IN OUT --train 160 --test 40` (per class)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--train", type=int, required=True)
    parser.add_argument("--test", type=int, required=True)
    options = parser.parse_args()
    most = {"train": options.train, "test": options.test}
    taken: collections.Counter[str] = collections.Counter()
    with tarfile.open(options.source) as source, tarfile.open(options.target, "w") as target:
        for member in source:
            path = PurePosixPath(member.name)
            if member.isfile() and taken[str(path.parent)] < most[path.parts[0]]:
                taken[str(path.parent)] += 1
                target.addfile(member, source.extractfile(member))
    print(f"{sum(taken.values())} images of {len(taken)} folders")


if __name__ == "__main__":
    main()

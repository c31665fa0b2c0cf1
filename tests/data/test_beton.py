"""FFCV's files: written, read, verified, and what damages them."""

from __future__ import annotations

import dataclasses
import errno
import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from codepath import cli
from codepath.core.errors import UserError
from codepath.data import (
    ArrayDataSet,
    ArraySplit,
    FileDataSet,
    LoaderOptions,
    beton_writer,
    choose_backend,
    describe_images,
    evaluation_loader,
    load_data_set,
    training_loader,
)
from codepath.data.beton import Beton, betons_of
from codepath.data.beton_format import STORES, BetonSettings
from codepath.data.beton_writer import ensure_beton
from codepath.run.config import DataConfig
from tests.data.photographs import TRAIN, WNIDS, make_archives, make_folders

needs_ffcv = pytest.mark.skipif(
    importlib.util.find_spec("ffcv") is None, reason="FFCV is not installed (codepath doctor)"
)


def noise(size: int = 205, side: int = 32) -> ArrayDataSet:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (size, side, side, 3)).astype(np.uint8)
    split = ArraySplit(images, rng.integers(0, 10, size))
    names = tuple(f"class{k}" for k in range(10))
    return ArrayDataSet("noise", "generated", split, split, names, (0.5,) * 3, (0.25,) * 3)


@pytest.fixture
def photographs(tmp_path: Path) -> FileDataSet:
    return photographs_in(make_folders(tmp_path / "imagenet"))


def photographs_in(root: Path) -> FileDataSet:
    loaded = load_data_set("imagenet", root, crop=24, subset=True)
    assert isinstance(loaded, FileDataSet)
    return loaded


def test_a_beton_is_written_once_and_described(tmp_path: Path) -> None:
    images = noise()
    path = ensure_beton(images, "train", tmp_path)
    written = path.stat().st_mtime_ns
    assert ensure_beton(images, "train", tmp_path) == path
    assert path.stat().st_mtime_ns == written
    manifest = json.loads(path.with_suffix(".json").read_text())
    assert manifest["images"] == manifest["pixels"] == 205
    assert sum(manifest["classes"].values()) == 205
    assert manifest["source"] == "generated"
    beton = Beton(path)
    assert np.array_equal(beton.pixels(), images.train.images)
    assert np.array_equal(beton.labels, images.train.labels)
    changed = images.train.images.copy()
    changed[0, 0, 0, 0] ^= 1
    other = dataclasses.replace(images, train=ArraySplit(changed, images.train.labels))
    assert ensure_beton(other, "train", tmp_path) != path


@needs_ffcv
def test_ffcv_itself_reads_our_files(tmp_path: Path) -> None:
    """FFCV's own loader and decoders, in another process: they set torch's threads."""
    images = noise(5500, 64)  # more than one page
    path = ensure_beton(images, "train", tmp_path)
    code = """
import sys
import numpy as np
from ffcv.fields.decoders import IntDecoder, SimpleRGBImageDecoder
from ffcv.loader import Loader
pipelines = {"image": [SimpleRGBImageDecoder()], "label": [IntDecoder()]}
loader = Loader(sys.argv[1], 500, 1, drop_last=False, pipelines=pipelines)
parts = [(images.copy(), labels[:, 0].copy()) for images, labels in loader]
np.savez(sys.argv[2], images=np.concatenate([a for a, _ in parts]),
         labels=np.concatenate([b for _, b in parts]))
"""
    out = tmp_path / "read.npz"
    subprocess.run([sys.executable, "-c", code, str(path), str(out)], check=True)
    read = np.load(out)
    assert np.array_equal(read["images"], images.train.images)
    assert np.array_equal(read["labels"], images.train.labels)


@needs_ffcv
def test_ffcv_itself_decodes_our_jpeg_files(photographs: FileDataSet, tmp_path: Path) -> None:
    path = ensure_beton(photographs, "train", tmp_path)
    code = """
import sys
import numpy as np
from ffcv.fields.rgb_image import CenterCropRGBImageDecoder
from ffcv.loader import Loader
loader = Loader(sys.argv[1], 5, 1, drop_last=False,
                pipelines={"image": [CenterCropRGBImageDecoder((24, 24), 1)], "label": None})
np.save(sys.argv[2], np.concatenate([images.copy() for images, in loader]))
"""
    out = tmp_path / "read.npy"
    subprocess.run([sys.executable, "-c", code, str(path), str(out)], check=True)
    read = np.load(out).astype(float)
    for got, index in zip(read, range(len(photographs.train)), strict=True):
        image = Image.fromarray(photographs.train.image(index))
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        crop = image.crop((left, top, left + side, top + side))
        wanted = np.asarray(crop.resize((24, 24), Image.Resampling.BOX), float)
        assert abs(got - wanted).mean() < 8  # it resizes in another way


def test_every_flipped_byte_is_found_and_its_sample_named(tmp_path: Path) -> None:
    path = ensure_beton(noise(4, side=8), "train", tmp_path)
    intact = path.read_bytes()
    beton = Beton(path)
    starts = beton.starts.tolist()
    samples = range(starts[0], starts[-1] + 8 * 8 * 3)
    rng = np.random.default_rng(1)
    places = {0, 3000, starts[0] - 1, starts[0], starts[2] + 17, len(intact) - 1}
    for place in sorted(places | set(rng.integers(0, len(intact), 20).tolist())):
        damaged = bytearray(intact)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        try:
            found = list(Beton(path).damages())
        except UserError as error:
            found = [str(error)]
        assert len(found) == 1, place
        if place in samples:
            index = sum(start <= place for start in starts) - 1
            name = f"class{noise(4, 8).train.labels[index]}"
            assert found == [f"image {index} (sample {index}, class {name}) is altered"]


def test_verify_names_the_image(photographs: FileDataSet, tmp_path: Path) -> None:
    path = ensure_beton(photographs, "train", tmp_path)
    runner = CliRunner()
    done = runner.invoke(cli.app, ["data", "verify", str(path)])
    assert done.exit_code == 0
    assert "15 images as they were written" in done.output
    other = ensure_beton(photographs, "test", tmp_path)
    headless = ensure_beton(noise(), "train", tmp_path)
    headless.write_bytes(bytes(10) + headless.read_bytes()[10:])
    damaged = bytearray(path.read_bytes())
    damaged[int(Beton(path).starts[6]) + 100] ^= 1
    path.write_bytes(damaged)
    done = runner.invoke(cli.app, ["data", "verify", *map(str, (path, headless, other))])
    assert f"{WNIDS[1]}_0001.JPEG (sample 6, class {WNIDS[1]}) is altered" in done.output
    assert "`codepath data build imagenet --store jpeg" in done.output
    assert "its head is altered" in done.output
    assert f"{other}: 6 images as they were written" in done.output
    assert isinstance(done.exception, UserError)
    assert str(done.exception) == f"2 of 3 files damaged: {path}, {headless}"


def test_an_absent_beton_is_absent_and_not_damaged(
    photographs: FileDataSet, tmp_path: Path
) -> None:
    there = ensure_beton(photographs, "train", tmp_path)
    named, other = tmp_path / "imagenet-test-0123456789.beton", tmp_path / "train.beton"
    files = [there, named, other, tmp_path]
    done = CliRunner().invoke(cli.app, ["data", "verify", *map(str, files)])
    makes = f"{named} is absent; `codepath data build imagenet --data DATA` makes it; there are"
    assert f"{makes} {there.name}\n" in done.output
    named_so = "`codepath data build SOURCE --data DATA` makes SOURCE-SPLIT-CHECKSUM"
    assert f"{other} is absent; {named_so}" in done.output
    assert f"{tmp_path} is a folder, not a beton" in done.output
    assert "damaged" not in done.output
    assert str(done.exception) == f"3 of 4 files absent: {named}, {other}, {tmp_path}"


@pytest.mark.parametrize("keep", [0, 10, 2000, 8_388_700, -1])
def test_a_truncated_beton_is_named(keep: int, tmp_path: Path) -> None:
    images = noise()
    options = LoaderOptions("ffcv", tmp_path)
    path = ensure_beton(images, "train", tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match="is damaged"):
        Beton(path)
    if importlib.util.find_spec("ffcv"):
        config = DataConfig(source="cifar10")
        with pytest.raises(UserError, match="remove it, and it is made again"):
            training_loader(images, config, 32, seed=0, options=options)


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    path = ensure_beton(noise(), "train", tmp_path)
    path.with_suffix(".json").unlink()
    with pytest.raises(UserError, match="is damaged"):
        Beton(path)


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from codepath.data.beton_writer import ensure_beton
from codepath.core.errors import UserError
from tests.data.test_beton import noise
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    ensure_beton(noise(5000), "train", Path(sys.argv[1]))
except UserError as error:
    print("refused:", error)
"""


@pytest.mark.parametrize("room", [1_000, 9_000_000, 16_000_000, 23_840_000])
def test_writing_goes_on_after_a_full_disk(room: int, tmp_path: Path) -> None:
    """The limit on file sizes stands for the end of the disk, at several places of the file."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path), str(room)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.startswith("refused:"), done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert "free some of the disk" in done.stdout
    assert not list(tmp_path.glob("*.beton"))
    beton = Beton(ensure_beton(noise(5000), "train", tmp_path))
    assert not list(beton.damages())
    assert not list(tmp_path.glob("*.part"))


WRITING = """
import sys, time
from pathlib import Path
from codepath.data import beton_writer
from tests.data.test_beton import noise
beton_writer._NOTED_EVERY = 100_000
def slow(done):
    print(done, flush=True)
    time.sleep(0.001)
beton_writer.ensure_beton(noise(2000), "train", Path(sys.argv[1]), on_image=slow)
"""


def test_killed_at_any_moment_writing_goes_on(tmp_path: Path) -> None:
    straight = ensure_beton(noise(2000), "train", tmp_path / "straight")
    folder = tmp_path / "killed"
    reached = []
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITING, str(folder)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        reached.append(int(process.stdout.readline()))
        time.sleep(0.4)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not list(folder.glob("*.beton"))
    assert reached[0] == 1
    assert reached[1] > 1  # it did not begin again
    path = ensure_beton(noise(2000), "train", folder)
    assert path.read_bytes() == straight.read_bytes()


def test_a_torn_note_costs_no_more_than_its_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beton_writer, "_NOTED_EVERY", 100_000)
    images = noise()

    def stop(done: int) -> None:
        if done == 150:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ensure_beton(images, "train", tmp_path, on_image=stop)
    (notes,) = tmp_path.glob("*.notes.part")
    os.truncate(notes, notes.stat().st_size - 7)
    first: list[int] = []
    path = ensure_beton(images, "train", tmp_path, on_image=first.append)
    assert 1 < first[0] < 150
    assert not list(Beton(path).damages())


def test_a_damaged_source_image_stops_the_build_by_name(
    photographs: FileDataSet, tmp_path: Path
) -> None:
    name = Path(photographs.train.files.name(3))
    name.write_bytes(name.read_bytes()[:200])
    with pytest.raises(UserError, match=f"{name.name}.*get it again"):
        ensure_beton(photographs, "train", tmp_path / "betons")
    assert not list((tmp_path / "betons").glob("*.beton"))


def test_images_in_files_keep_their_bytes(photographs: FileDataSet, tmp_path: Path) -> None:
    beton = Beton(ensure_beton(photographs, "train", tmp_path))
    for index in range(len(photographs.train)):
        assert beton.read(index) == photographs.train.files.read(index)
        assert beton.size(index) == photographs.train.size(index)
    assert beton.manifest["jpeg"] == len(photographs.train)


@pytest.mark.parametrize("mode", ["L", "CMYK", "P"])
def test_other_images_than_rgb_jpeg(mode: str, tmp_path: Path) -> None:
    root = make_folders(tmp_path / "imagenet")
    odd = root / "train" / WNIDS[0] / f"{WNIDS[0]}_0001.JPEG"
    buffer = io.BytesIO()
    picture = Image.open(odd).convert("RGB").convert(mode)
    picture.save(buffer, "PNG" if mode == "P" else "JPEG")
    odd.write_bytes(buffer.getvalue())
    images = photographs_in(root)
    beton = Beton(ensure_beton(images, "train", tmp_path))
    assert beton.is_jpeg(1) == (mode == "L")
    split = dataclasses.replace(images.train, files=beton)
    assert np.array_equal(split.image(1), images.train.image(1))
    assert beton.manifest["pixels"] == (mode != "L")


def test_images_in_files_as_pixels(
    photographs: FileDataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but those too large for a page, which stay JPEG."""
    area = sorted(photographs.train.image(i).nbytes for i in range(len(photographs.train)))
    monkeypatch.setattr(beton_writer, "PAGE", area[-2])
    beton = Beton(ensure_beton(photographs, "train", tmp_path, BetonSettings("pixels")))
    assert beton.manifest["pixels"] == len(photographs.train) - 1
    assert beton.manifest["jpeg"] == 1
    split = dataclasses.replace(photographs.train, files=beton)
    for index in range(len(photographs.train)):
        assert np.array_equal(split.image(index), photographs.train.image(index))
    with pytest.raises(UserError, match="did you mean pixels"):
        BetonSettings("pixel")


def test_larger_images_are_made_smaller_when_told_to(
    photographs: FileDataSet, tmp_path: Path
) -> None:
    beton = Beton(ensure_beton(photographs, "train", tmp_path, BetonSettings(longest=40)))
    sizes = [beton.size(i) for i in range(len(beton))]
    before = [photographs.train.size(i) for i in range(len(beton))]
    for new, old in zip(sizes, before, strict=True):
        assert max(new) == min(max(old), 40)
        assert new == old or abs(new[0] / new[1] - old[0] / old[1]) < 0.1
    assert beton.manifest["settings"] == {"store": "jpeg", "longest": 40, "quality": 90}
    with pytest.raises(UserError, match="out of range"):
        BetonSettings(quality=0)


def test_betons_stand_for_their_source(tmp_path: Path) -> None:
    root = make_archives(tmp_path / "archives")
    before = photographs_in(root)
    images = torch.cat([batch.images for batch in evaluation_loader(before.test, 4)])
    done = CliRunner().invoke(
        cli.app, ["data", "build", "imagenet", "--data", str(root), "--subset"]
    )
    assert done.exit_code == 0, done.output
    assert set(betons_of("imagenet", root / "betons")) == {"train", "test"}
    for archive in root.glob("*.tar*"):
        archive.unlink()
    after = photographs_in(root)
    assert "betons" in after.source
    assert after.class_names == before.class_names
    for name in ("train", "test"):
        assert np.array_equal(before.split(name).labels, after.split(name).labels)
    stored = torch.cat([batch.images for batch in evaluation_loader(after.test, 4)])
    assert torch.equal(images, stored)


def build(root: Path, *options: str) -> Any:
    return CliRunner().invoke(
        cli.app, ["data", "build", "imagenet", "--data", str(root), "--subset", *options]
    )


def test_betons_are_made_of_the_source_alone(tmp_path: Path) -> None:
    """Earlier betons are smaller: taken for the source, they would make the next ones small."""
    root = make_folders(tmp_path / "imagenet")
    assert build(root, "--longest", "30").exit_code == 0
    assert build(root, "--store", "pixels").exit_code == 0
    whole, small = load_data_set("imagenet", root, 24, True, originals=True), photographs_in(root)
    assert isinstance(whole, FileDataSet)
    for index in range(len(whole.train)):
        assert np.array_equal(small.train.image(index), whole.train.image(index))
    for split in ("train", "val"):
        (root / split).rename(tmp_path / split)
    refused = build(root, "--longest", "20")
    assert isinstance(refused.exception, UserError)
    assert "betons, which are not made of one another: put ILSVRC2012_img_train.tar" in str(
        refused.exception
    )


def test_which_of_several_betons_is_used(tmp_path: Path) -> None:
    """Larger images, then pixels: neither the order of writing nor of names decides."""
    root = make_folders(tmp_path / "imagenet")
    wanted = [("pixels", 0), ("jpeg", 0), ("pixels", 40), ("jpeg", 40), ("jpeg", 30)]
    for store, longest in wanted:
        assert build(root, "--store", store, "--longest", str(longest)).exit_code == 0
    for store, longest in wanted:
        used = betons_of("imagenet", root / "betons")
        assert set(used) == {"train", "test"}
        for path in used.values():
            settings = Beton(path).manifest["settings"]
            assert (settings["store"], settings["longest"]) == (store, longest)
        described = describe_images(photographs_in(root))
        kind = "JPEG" if store == "jpeg" else store
        assert f"; from {used['train']} (as {kind})" in described[1]
        used["train"].unlink()  # one split is less than two
    assert set(betons_of("imagenet", root / "betons")) == {"test"}


def test_a_folder_that_cannot_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies there is used; what does not is refused, or made without FFCV."""
    images, options = noise(), LoaderOptions("auto", tmp_path / "betons")
    path = ensure_beton(images, "train", options.betons)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setattr("os.access", lambda *_: False)
    monkeypatch.setattr("filelock.FileLock.acquire", None)
    assert ensure_beton(images, "train", options.betons) == path
    assert choose_backend(images, options) == ("ffcv", "")
    for written in options.betons.iterdir():
        written.unlink()
    with pytest.raises(UserError, match="no write permission"):
        ensure_beton(images, "train", options.betons)
    backend, reason = choose_backend(images, options)
    assert backend == "torch"
    assert reason == f"FFCV's file cannot be written: no write permission in {options.betons}"
    with pytest.raises(UserError, match=r"no write permission.*use the torch loader"):
        choose_backend(images, LoaderOptions("ffcv", options.betons))


def test_a_nearly_full_disk_leaves_ffcv_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10**6))
    backend, reason = choose_backend(noise(), LoaderOptions("auto", tmp_path / "a" / "b"))
    assert backend == "torch"
    assert "less than 65 MiB free" in reason


@pytest.mark.parametrize(
    ("code", "cure"),
    [
        (errno.ENOSPC, "free some of the disk"),
        (errno.EDQUOT, "free some of the disk"),
        (errno.EROFS, "allow writing there"),
        (errno.EACCES, "allow writing there"),
        (errno.EIO, "mend this"),
    ],
)
def test_errors_in_writing_have_their_own_cures(
    code: int, cure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(beton_writer, "_sync", fail)
    with pytest.raises(UserError, match=f"{os.strerror(code)}.*: {cure} and repeat"):
        ensure_beton(noise(), "train", tmp_path)


def test_grey_images_are_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli.app, ["data", "build", "digits", "--out", str(tmp_path / "out")])
    assert str(done.exception) == (
        "betons hold RGB images, digits has 1 channel: the torch loader takes it as it is"
    )
    assert not (tmp_path / "out").exists()


@needs_ffcv
@pytest.mark.parametrize("store", STORES)
def test_both_backends_on_images_in_files(
    store: str, photographs: FileDataSet, tmp_path: Path
) -> None:
    config = DataConfig(source="imagenet", crop=24, flip=True, randaugment="rand-m10-n2")
    assert "data build imagenet" in choose_backend(photographs, LoaderOptions())[1]
    with pytest.raises(UserError, match="data build imagenet"):
        choose_backend(photographs, LoaderOptions("ffcv"))
    beton = Beton(ensure_beton(photographs, "train", tmp_path, BetonSettings(store)))
    stored = dataclasses.replace(
        photographs, train=dataclasses.replace(photographs.train, files=beton)
    )
    assert choose_backend(stored, LoaderOptions()) == ("ffcv", "")
    a, b = (
        training_loader(stored, config, 4, seed=3, options=LoaderOptions(name, tmp_path))
        for name in ("ffcv", "torch")
    )
    for epoch, first in ((0, 0), (2, 1)):
        a.set_epoch(epoch, first)
        b.set_epoch(epoch, first)
        left, right = list(a), list(b)
        assert len(left) == len(right) == len(photographs.train) // 4 - first
        for x, y in zip(left, right, strict=True):
            assert all(torch.equal(p, q) for p, q in zip(x, y, strict=True))
    assert len(photographs.train) == TRAIN * len(WNIDS)


@needs_ffcv
def test_an_altered_jpeg_image_never_reaches_training(
    photographs: FileDataSet, tmp_path: Path
) -> None:
    path = ensure_beton(photographs, "train", tmp_path)
    damaged = bytearray(path.read_bytes())
    damaged[int(Beton(path).starts[6]) + 100] ^= 1
    path.write_bytes(damaged)
    stored = dataclasses.replace(
        photographs, train=dataclasses.replace(photographs.train, files=Beton(path))
    )
    config = DataConfig(source="imagenet", crop=24)
    for name in ("ffcv", "torch"):
        loader = training_loader(stored, config, 15, seed=0, options=LoaderOptions(name, tmp_path))
        with pytest.raises(UserError, match=f"{WNIDS[1]}_0001.JPEG, sample 6, is altered"):
            list(loader)

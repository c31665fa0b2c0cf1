"""The page of `codepath explore`: its pieces, and the whole of it in a headless Chromium."""

from __future__ import annotations

import csv
import http.client
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from codepath.explore import view
from codepath.explore.samples import FOLDER, samples
from codepath.models.shipped import BEST
from codepath.parts.explanation import Explainer, Explanation
from codepath.parts.trained_run import find_run


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    return Explainer(find_run(BEST))


def explained(explainer: Explainer, off: dict[int, set[int]] | None = None) -> Explanation:
    sample = samples()[0]
    photo = explainer.read(sample.path.read_bytes(), sample.path.name)
    return explainer.explain(photo, sample.path.name, sample.truth, off=off)


def test_twenty_images_come_along_each_with_its_source() -> None:
    with (FOLDER / "SOURCES.csv").open() as file:
        sources = {row["file"]: row for row in csv.DictReader(file)}
    found = samples()
    assert len(found) == 20
    assert len({sample.truth for sample in found}) == 10
    for sample in found:
        assert sources[sample.path.name]["class"] == sample.truth
        assert all(sources[sample.path.name][key] for key in ("author", "source", "licence"))


def test_pieces_say_what_the_explanation_says(explainer: Explainer) -> None:
    found = explained(explainer)
    text = view.summary(found, explainer.facts.class_names)
    assert f"It is <b>{found.prediction}</b>" in text
    assert text.count("cp-yes") == sum(bool(answer.yes) for answer in found.answers)
    assert "in truth: airplane" in text
    for one in found.blocks:
        drawn = view.block(one, found, set())
        assert f"Block {one.block} says {one.decision}" in drawn
        bits = "".join(one.codewords.values())
        assert drawn.count("cp-bit cp-one") == bits.count("1")
        assert drawn.count('class="cp-bit') == len(bits)
    assert sum("stops here" in view.block(one, found, set()) for one in found.blocks) == (
        (found.exit_block or 0) > 0
    )


def test_paths_that_are_off_carry_nothing(explainer: Explainer) -> None:
    found = explained(explainer, {6: {0, 3, 7}})
    last = found.blocks[-1]
    assert [n for n, energy in enumerate(last.scaled_energies) if energy == 0] == [0, 3, 7]
    assert view.block(last, found, {0, 3, 7}).count("cp-bar cp-off") == 3
    whole = explained(explainer)
    assert found.blocks[0].scaled_energies == whole.blocks[0].scaled_energies
    assert found.probabilities != whole.probabilities


def test_names_from_outside_are_escaped(explainer: Explainer) -> None:
    sample = samples()[0]
    photo = explainer.read(sample.path.read_bytes(), "x")
    found = explainer.explain(photo, '"><script>alert(1)</script>', "<b>")
    text = view.summary(found, explainer.facts.class_names)
    assert "<script>" not in text
    assert "in truth: &lt;b&gt;" in text


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a page that is served in a process of its own, from an empty folder."""
    pytest.importorskip("gradio", reason="the extra `explore` is not installed")
    folder = tmp_path_factory.mktemp("served")
    (folder / "secret.txt").write_text("secret")
    environment = os.environ | {"GRADIO_TEMP_DIR": str(folder / "cache")}
    server = subprocess.Popen(
        [sys.executable, "-m", "codepath.cli", "explore"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    line = server.stdout.readline()
    assert line.startswith("http://127.0.0.1:"), line
    yield line.split()[0]
    server.terminate()
    server.wait(30)


def answer(address: str, path: str, host: str = "") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
    connection.request("GET", path, headers={"Host": host} if host else {})
    response = connection.getresponse()
    return response.status, response.read()


def test_no_file_of_the_machine_is_given_out(address: str) -> None:
    sources = FOLDER / "SOURCES.csv"
    for path in ("/etc/passwd", "secret.txt", "../secret.txt", str(sources), "/proc/self/environ"):
        status, content = answer(address, f"/gradio_api/file={path}")
        assert status in (403, 404)
        assert b"secret" not in content.replace(b"secret.txt", b"")
    assert answer(address, "/", host="elsewhere.example")[0] == 400
    assert answer(address, "/")[0] == 200


class Visit:
    """A page in the browser that notes what should not happen."""

    def __init__(self, browser: Any, address: str, width: int = 1280, theme: str = "light") -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=theme
        )
        self.page = self.context.new_page()
        self.problems: list[str] = []
        self.page.on("request", lambda request: self._note(request.url, address))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.goto(address)
        self.page.get_by_text("No image is chosen yet").wait_for()

    def _note(self, url: str, address: str) -> None:
        if not url.startswith((address, "data:", "blob:")):
            self.problems.append(url)

    def pick(self, number: int) -> str:
        """Click on a sample; returns what the network says."""
        self.page.locator(".cp-samples button.thumbnail-item").nth(number).click()
        name = samples()[number].path.name
        self.page.locator(".cp-summary", has_text=name).wait_for()
        return self.page.locator(".cp-summary").inner_text()

    def upload(self, name: str, data: bytes) -> None:
        kind = "image/png"
        field = self.page.locator("input[type=file]").first
        field.set_input_files({"name": name, "mimeType": kind, "buffer": data})

    def close(self) -> None:
        assert not self.problems
        self.context.close()


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_an_image_and_three_paths_less(browser: Any, address: str, width: int, theme: str) -> None:
    visit = Visit(browser, address, width, theme)
    before = visit.pick(16)
    last = visit.page.locator(".cp-switches").last
    for number in range(3):
        last.locator("input").nth(number).uncheck()
    visit.page.wait_for_function("document.querySelectorAll('.cp-off').length == 3")
    after = visit.page.locator(".cp-summary").inner_text()
    assert after != before
    assert visit.page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    visit.page.get_by_role("button", name="Switch all paths on").click()
    visit.page.wait_for_function("document.querySelectorAll('.cp-off').length == 0")
    assert visit.page.locator(".cp-summary").inner_text() == before
    visit.close()


def test_own_images_good_and_bad(browser: Any, address: str) -> None:
    visit = Visit(browser, address)
    good = io.BytesIO()
    Image.fromarray(np.full((64, 48, 3), 120, np.uint8)).save(good, "PNG")
    bad = {
        "text.png": (b"no image", "is no image that can be read"),
        "drawing.png": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG drawing"),
        "cut.png": (good.getvalue()[:60], "damaged image"),
    }
    for name, (data, said) in bad.items():
        visit.upload(name, data)
        visit.page.locator(".cp-error", has_text=said).wait_for()
        assert visit.page.locator(".cp-summary").count() == 0
    visit.upload("good.png", good.getvalue())
    visit.page.locator(".cp-summary", has_text="central square resized to 32 x 32").wait_for()
    visit.close()


def test_a_block_without_paths_says_so(browser: Any, address: str) -> None:
    visit = Visit(browser, address)
    visit.pick(3)
    first = visit.page.locator(".cp-switches").first
    for number in range(10):
        first.locator("input").nth(number).uncheck()
    visit.page.locator(".cp-error", has_text="Block 3 needs a path").wait_for()
    visit.close()


def test_a_port_that_is_taken(address: str, tmp_path: Path) -> None:
    port = str(urlsplit(address).port)
    done = subprocess.run(
        [sys.executable, "-m", "codepath.cli", "explore", "--port", port],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"port {port} is taken" in done.stderr
    assert "Traceback" not in done.stderr

"""Names of classes and folders through all that is shown: they come out as they went in.

A tiny network is trained on images whose classes and folder have the names below. Everything that
is written, drawn or printed of it is read by a parser of its form.
"""

from __future__ import annotations

import dataclasses
import html
import io
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from markdown_it import MarkdownIt
from PIL import Image
from rich.console import Console

from codepath import store
from codepath.core.errors import UserError
from codepath.core.markdown import cell, escaped, table
from codepath.data import ArrayDataSet
from codepath.explore import view
from codepath.paper.drawings.contact_sheet import draw_sheet
from codepath.paper.drawings.explained_image import draw_explanation
from codepath.paper.pictures.path_energies import BlockTable, draw_paths
from codepath.paper.tables.layout import latex
from codepath.parts.classifier_files import ExtractOptions, extract_run
from codepath.parts.explanation import Explainer, Explanation
from codepath.parts.trained_run import class_folders
from codepath.pipeline.measure import evaluate_run
from codepath.run.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from codepath.train import fit

EVIL = (
    "<img src=x onerror=alert(1)>", "a;rm -rf *", "..", "a|b|c", "**bold** `code` $x$", r"$\frac$",
    "[/red] [link](javascript:alert(1))", "\"quoted\", 'too'", "a_b", "a b",
)  # fmt: skip
FOLDER = r"""images in <script>alert(1) $\x$ [red] | "a", 'b' \input{x}"""
CPU = torch.device("cpu")


class Elements(HTMLParser):
    """The elements of a page, each with its attributes, and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def names(self) -> set[str]:
        return {tag for tag, _ in self.found}

    def harmless(self) -> bool:
        """Whether nothing runs: no script, no handler of an event, no script as a link."""
        return "script" not in self.names and not any(
            name.startswith("on") or (value or "").startswith("javascript:")
            for _, attributes in self.found
            for name, value in attributes.items()
        )


def rendered(text: str) -> Elements:
    """Markdown as a page, by a renderer that lets HTML through."""
    return Elements(MarkdownIt("commonmark", {"html": True}).enable("table").render(text))


@pytest.fixture(scope="module")
def images(tiny_images: ArrayDataSet) -> ArrayDataSet:
    return dataclasses.replace(tiny_images, source=FOLDER, class_names=EVIL)


@pytest.fixture(scope="module")
def run_dir(images: ArrayDataSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = RunConfig(
        experiment="table2-tiny",
        scale="demo",
        model_role="coded",
        seed=3,
        model=ModelConfig(name="coded_resnext20_10x4d", num_classes=10, in_chans=1),
        data=DataConfig(source="digits"),
        train=TrainConfig(epochs=1, batch_size=32, lr=0.05, lr_end=1e-4, mu=6.0),
    )
    folder = tmp_path_factory.mktemp("runs") / "coded"
    fit(config, images, folder, CPU, Console(file=io.StringIO(), markup=False))
    evaluate_run(folder, images, CPU)
    return folder


@pytest.fixture(scope="module")
def explanation(run_dir: Path, images: ArrayDataSet) -> Explanation:
    explainer = Explainer(run_dir)
    file = io.BytesIO()
    Image.fromarray(images.test.images[0, ..., 0]).resize((16, 16)).save(file, "PNG")
    photo = explainer.read(file.getvalue(), FOLDER)
    return explainer.explain(photo, FOLDER, EVIL[0], top=10)


def test_rows_hold_the_names(run_dir: Path, tmp_path: Path) -> None:
    """Written, collected and read again, twice."""
    for _ in range(2):
        store.collect(tmp_path, [run_dir])
    rows = store.read_rows(tmp_path, "binary")
    assert set(rows["class"].dropna()) == set(EVIL)
    assert set(rows["source"]) == {FOLDER}


def test_the_card_shows_the_names_as_text(run_dir: Path) -> None:
    page = rendered((run_dir / "model" / "README.md").read_text().split("---\n", 2)[2])
    assert page.harmless()
    assert "img" not in page.names
    assert f"{FOLDER}: 96 training and 25 test images" in page.text


def test_a_classifier_s_files_stay_in_their_folder(
    run_dir: Path, images: ArrayDataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder for every class inside of OUT, also for `..`; the printed table has the names."""
    monkeypatch.setattr("codepath.parts.classifier_files.load_run_images", lambda *_: images)
    out = tmp_path / "in" / "out"
    printed = Console(file=io.StringIO(), width=300, markup=False)
    options = ExtractOptions(formats=(), latency_turns=0)
    cards = extract_run(run_dir, out, options, None, printed)
    assert [card.class_name for card in cards] == list(EVIL)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["out"]
    folders = class_folders(EVIL)
    assert sorted(path.name for path in out.iterdir()) == sorted(folders)
    for name, folder in zip(EVIL, folders, strict=True):
        assert json.loads((out / folder / "card.json").read_text())["class_name"] == name
    said = printed.file.getvalue()  # type: ignore[attr-defined]
    assert all(name in said for name in EVIL)


def test_folders_of_classes_are_plain_and_different() -> None:
    names = ["..", "a b", "a_b", "1-a_b", "a/b", "-rf", "", "x" * 300, "Äpfel", "golden retriever"]
    folders = class_folders(names)
    assert len(set(folders)) == len(names)
    assert folders[-3:] == ["x" * 60, "Äpfel", "golden_retriever"]
    assert not any(set(folder) & set("/ \n;*'\"$") for folder in folders)
    assert not any(folder.startswith((".", "-")) or not folder for folder in folders)


def test_the_page_shows_the_names_as_text(explanation: Explanation) -> None:
    pieces = [view.summary(explanation, EVIL), view.line(EVIL[0], is_error=True)]
    pieces += [view.block(one, explanation, set()) for one in explanation.blocks]
    pages = [Elements(piece) for piece in pieces]
    assert all(page.harmless() for page in pages)
    assert [tag for page in pages for tag, _ in page.found if tag == "img"] == ["img"]
    for name in EVIL:
        assert name in pages[0].text
        assert name in pages[2].text
    (picture,) = [attributes for tag, attributes in pages[0].found if tag == "img"]
    assert picture["alt"] == f"The image as the network sees it: {FOLDER}"


def test_the_page_s_markdown_shows_the_names_as_text(run_dir: Path) -> None:
    pytest.importorskip("gradio", reason="the extra `explore` is not installed")
    from codepath.explore.page import Page

    layout: Any = Page(Explainer(run_dir), FOLDER).blocks()
    (text,) = [one.value for one in layout.blocks.values() if type(one).__name__ == "Markdown"]
    page = rendered(text)
    assert page.harmless()
    assert page.names <= {"h1", "p", "strong"}
    assert FOLDER in page.text
    assert ", ".join(EVIL) in page.text


def test_pictures_show_the_names_as_text(explanation: Explanation, tmp_path: Path) -> None:
    """A pair of dollars is no formula; as SVG each name is there letter by letter."""
    draw_explanation(explanation.to_dict(), tmp_path / "explained.svg")
    pixels = np.zeros((10, 8, 8, 1), np.uint8)
    draw_sheet(pixels, pixels[:, None], EVIL, ["1"], FOLDER, tmp_path / "sheet.svg")
    blocks = [BlockTable(4, np.zeros((10, 10)), np.zeros((10, 10), np.uint8), 0.0)]
    draw_paths(blocks, EVIL, FOLDER, tmp_path / "paths.svg")
    for name in ("explained", "sheet", "paths"):
        text = (tmp_path / f"{name}.svg").read_text()
        assert Elements(text).harmless()
        for shown in (*EVIL, FOLDER):
            assert html.escape(shown, quote=False) in text, (name, shown)  # beside its letters


@pytest.mark.parametrize("text", [*EVIL, FOLDER, "two\nlines", "# head", "~~gone~~", "1 * 2 * 3"])
def test_markdown_is_escaped(text: str) -> None:
    shown = " ".join(text.split())
    page = rendered(f"a {escaped(text)} b")
    assert (page.names, page.text.strip()) == ({"p"}, f"a {shown} b")
    page = rendered("\n".join(table(["a", "b"], [[escaped(text), "c"]])))
    assert page.names == {"table", "thead", "tbody", "tr", "th", "td"}
    assert [tag for tag, _ in page.found].count("td") == 2
    assert rendered("\n".join(table(["a"], [[cell(text)]]))).harmless()


def test_latex_is_escaped() -> None:
    text = latex(["a"], [[FOLDER], ["x & y\n%z ~ ^ #"]])
    assert r"\textbackslash{}input\{x\}" in text
    assert r"x \& y \%z \~{} \^{} \#" in text
    assert "$" not in text.replace(r"\$", "")


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "a\x1b[31mb", "a\udcffb"])
def test_names_that_cannot_be_shown_are_refused(name: str, tiny_images: ArrayDataSet) -> None:
    names = (name, *EVIL[1:])
    with pytest.raises(UserError, match=r"control character, or letters that are not UTF-8") as no:
        dataclasses.replace(tiny_images, class_names=names)
    assert str(no.value).isprintable()

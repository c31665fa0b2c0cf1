"""The site: it builds without a warning, and its pages as they look in a headless Chromium."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

WRITTEN = [
    "index", "quick-start", "explore", "timm", "early-exits", "coding-schemes", "evidence", "block",
    "benchmarks",
]  # fmt: skip
"""Pages that are looked at in every form; of the others the narrow form alone."""


def pages_of(site: Path) -> list[Path]:
    """Every page but those that Sphinx makes for itself, and the pages of single tables."""
    found = sorted(site.rglob("*.html"))
    return [path for path in found if "_static" not in path.parts and "tables" not in path.parts]


@pytest.fixture(scope="module")
def tab(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    yield context.new_page()
    context.close()


def test_it_builds_and_no_page_is_a_stub(site: Path) -> None:
    pages = pages_of(site)
    assert len(pages) > 40
    stubs = [path.name for path in pages if "This page is a stub." in path.read_text()]
    assert not stubs


def test_the_source_of_no_page_names_another_host_for_what_it_loads(site: Path) -> None:
    loaded = re.compile(
        r"<(?:script|img|link|iframe|source)[^>]+(?:src|href)=\"(?:https?:)?//[^\"]*"
    )
    for path in pages_of(site):
        assert not loaded.findall(path.read_text()), path
    for path in [*site.rglob("*.css"), *site.rglob("*.js")]:
        assert not re.findall(r"(?:url\(|import )['\"]?https?://", path.read_text()), path


def test_no_page_is_wider_than_a_phone_or_asks_another_host(site: Path, tab: Any) -> None:
    asked: list[str] = []
    failed: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("requestfailed", lambda request: failed.append(request.url))
    tab.on("pageerror", lambda error: failed.append(str(error)))
    wide = []
    for path in pages_of(site):
        tab.goto(path.as_uri())
        width = tab.evaluate("document.documentElement.scrollWidth")
        if width > 390:
            wide.append((path.relative_to(site).as_posix(), width))
    assert not wide
    assert {urlsplit(url).scheme for url in asked} <= {"file", "data"}
    assert not failed


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(site: Path, browser: Any, scheme: str) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
    tab = context.new_page()
    for name in WRITTEN:
        tab.goto((site / f"{name}.html").as_uri())
        ground, ink = (
            tab.evaluate(
                "([selector, property]) => getComputedStyle(document.querySelector(selector))"
                ".getPropertyValue(property)", list(pair),
            )
            for pair in (("body", "background-color"), ("article p", "color"))
        )  # fmt: skip
        assert contrast(ground, ink) >= 7, (name, ground, ink)
        assert (luminance(ground) > 0.5) == (scheme == "light"), name
        assert tab.evaluate("document.documentElement.scrollWidth") <= 1280
    context.close()


def luminance(colour: str) -> float:
    """The relative luminance of a colour `rgb(r, g, b)`, from 0 to 1."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
              for part in parts]  # fmt: skip
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(first: str, second: str) -> float:
    """The ratio of contrast of two colours, from 1 to 21."""
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_formulas_are_drawn_by_the_browser_itself(site: Path, tab: Any) -> None:
    tab.goto((site / "block.html").as_uri())
    assert tab.locator("math").count() > 5
    assert tab.locator("math").first.bounding_box()["height"] > 8
    assert not tab.locator("script[src*=mathjax i]").count()


def test_the_search_works_from_the_file(site: Path, tab: Any) -> None:
    tab.goto((site / "search.html").as_uri() + "?q=codeword")
    tab.wait_for_selector("ul.search li a", timeout=20_000)
    assert tab.locator("ul.search li").count() > 3

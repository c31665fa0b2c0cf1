"""The report, as text and in a headless Chromium."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from codepath.paper.report.in_words import FIVE
from codepath.paper.report.page import write_report

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def page_file(made_up_cifar10: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, missing = write_report(made_up_cifar10, tmp_path_factory.mktemp("report"))
    assert any("table2-imagenet" in line for line in missing)
    return path


def test_it_needs_no_network_and_repeats_to_the_byte(
    page_file: Path, made_up_cifar10: Path, tmp_path: Path
) -> None:
    text = page_file.read_text()
    assert not re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', text)
    assert "url(http" not in text
    again, _ = write_report(made_up_cifar10, tmp_path)
    assert again.read_bytes() == page_file.read_bytes()


def test_every_link_to_a_run_has_its_run(page_file: Path) -> None:
    text = page_file.read_text()
    links = set(re.findall(r'href="#(run-[^"]+)"', text))
    assert len(links) > 10
    assert links <= set(re.findall(r'id="(run-[^"]+)"', text))
    assert text.count('class="plot"') == text.count("<figure id=")


def test_figures_share_letters_and_styles(page_file: Path) -> None:
    text = page_file.read_text()
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    used = re.findall(r'href="#([^"]+)|url\(#([^")]+)\)', text)
    used = ["".join(one) for one in used]
    assert set(used) <= set(ids)
    assert len(used) > 1000
    outlines = re.findall(r'<path id="g\d+" (d="[^"]+")', text)
    assert len(outlines) == len(set(outlines)) > 20


def test_it_opens_with_the_five_claims(page_file: Path) -> None:
    text = page_file.read_text()
    opening = text[text.index('<ol class="five">') : text.index("</ol>")]
    for statement, item, _ in FIVE:
        assert statement.replace("'", "&#39;") in opening
        assert f"({item})" in opening
    assert opening.count('class="badge') >= 5
    assert text.index("</ol>") < text.index('<figure id="figure-paths') < text.index('id="claims"')


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_in_chromium(browser: Any, page_file: Path, size: str, theme: str) -> None:
    """No console message, no overflow, sorting, filters, hovering and provenance at work."""
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=theme, offline=True
    )
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("requestfailed", lambda request: problems.append(request.url))
    page.goto(page_file.as_uri())
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (theme == "dark")
    inverted = page.evaluate("getComputedStyle(document.querySelector('svg.plot')).filter")
    assert ("invert" in inverted) == dark

    rows = page.locator("#judged tbody tr")
    total = rows.count()
    page.get_by_role("button", name="contradicted").click()
    shown = page.locator("#judged tbody tr:visible")
    assert 0 < shown.count() < total
    assert set(shown.locator(".badge").all_inner_texts()) == {"contradicted"}
    page.get_by_role("button", name="all", exact=True).click()

    head = page.locator("#judged th", has_text="seeds")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    seeds = page.locator("#judged tbody tr td:nth-child(8)").all_inner_texts()
    numbers = [int(text) for text in seeds if text.isdigit()]
    assert numbers == sorted(numbers)

    spot = page.locator("#figure-fig2a-cifar10-paper .spot").first
    spot.scroll_into_view_if_needed()
    spot.hover(force=True)
    assert "top-1 accuracy = " in page.locator("#tip").inner_text()

    details = page.locator("#judged details", has=page.locator("a[href^='#run-']")).first
    details.locator("summary").click()
    details.locator("a").first.click()
    target = page.locator("tr:target")
    assert target.is_visible()
    assert "made up" in target.inner_text()
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")

    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 794, "height": 1123})
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('afterprint'))")

    page.get_by_role("button", name="Theme").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    assert problems == []
    context.close()

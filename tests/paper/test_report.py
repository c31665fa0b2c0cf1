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


def test_switches_of_deviations_are_shown_as_code(page_file: Path) -> None:
    text = page_file.read_text()
    assert "<td><code>--set train.lr_end=...</code></td>" in text
    assert "&lt;code&gt;" not in text


def test_it_opens_with_the_five_claims(page_file: Path) -> None:
    text = page_file.read_text()
    opening = text[text.index('<ol class="five">') : text.index("</ol>")]
    for statement, item, _ in FIVE:
        assert statement.replace("'", "&#39;") in opening
        assert f"({item})" in opening
    assert opening.count('class="badge') >= 5
    assert text.index("</ol>") < text.index('<figure id="figure-paths') < text.index('id="claims"')


@pytest.fixture
def phone(browser: Any, page_file: Path) -> Any:
    """The page on a phone."""
    width, height = SIZES["phone"]
    context = browser.new_context(viewport={"width": width, "height": height}, offline=True)
    page = context.new_page()
    page.goto(page_file.as_uri())
    yield page
    context.close()


def test_tables_are_lists_of_rows_on_a_phone(phone: Any) -> None:
    """No table has to be scrolled sideways, and every cell stands beside its column's name."""
    assert phone.locator(".wide").count() > 10
    hidden = "[...document.querySelectorAll('.wide')].filter(t => t.scrollWidth > t.clientWidth)"
    assert phone.evaluate(f"{hidden}.length") == 0
    row = phone.locator("#judged tbody tr").first
    names = phone.locator("#judged th").all_inner_texts()
    shown = row.evaluate(
        """row => [...row.cells].map(cell => {
             const name = getComputedStyle(cell, "::before"), box = cell.getBoundingClientRect();
             return [JSON.parse(name.content), name.display, box.left, box.right, box.top];
           })"""
    )
    assert [name for name, *_ in shown] == names
    assert {display for _, display, *_ in shown} == {"table-cell"}
    assert all(0 <= left < right <= SIZES["phone"][0] for *_, left, right, _ in shown)
    tops = [top for *_, top in shown]
    assert tops == sorted(set(tops))  # one below the other
    details = row.locator("details")
    details.locator("summary").click()
    assert phone.evaluate(f"{hidden}.length") == 0


def test_headings_are_seen_below_the_links_on_a_phone(phone: Any) -> None:
    for link in phone.locator("nav a").all():
        link.click()
        section = phone.locator(link.get_attribute("href"))
        bar = phone.locator("nav").bounding_box()
        assert section.locator("h2").bounding_box()["y"] >= bar["y"] + bar["height"]
    wide = phone.locator("figure.broad").first
    assert "sideways" in wide.evaluate("f => getComputedStyle(f, '::before').content")
    assert phone.evaluate("document.scrollingElement.scrollWidth <= innerWidth")


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

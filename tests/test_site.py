"""The site: whole pages, no link into nothing, no resource from elsewhere, formulas without a script."""

from __future__ import annotations

import re
from base64 import b64encode
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from reidkit import course, site
from reidkit.course import run
from reidkit.errors import InputError

CHROMIUM = Path("/usr/bin/chromium")
NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def png() -> str:
    """A small picture as notebooks keep it."""
    data = BytesIO()
    Image.new("RGB", (40, 20), (0, 90, 140)).save(data, "PNG")
    return b64encode(data.getvalue()).decode()


def shown(data: dict[str, str]) -> nbformat.NotebookNode:
    return new_output("display_data", data)


def notebook(title: str, text: str, outputs: list[nbformat.NotebookNode]) -> nbformat.NotebookNode:
    """A lesson of two sections."""
    return new_notebook(
        cells=[
            new_markdown_cell(f"# {title}\n\n**The question.** Is 1 < 2 & *true*?\n\n**Time.** None."),
            new_markdown_cell(f"## First part\n\n{text}"),
            new_code_cell("print('a < b')", outputs=outputs),
            new_markdown_cell(
                "## Second part\n\n<details><summary>Answers</summary>\n\n1. $1/4$ and **b**.\n\n</details>"
            ),
        ]
    )


@pytest.fixture
def executed(tmp_path: Path) -> list[Path]:
    """Two lessons that ran: one with a figure, a table, a widget and a progress bar."""
    bar = {site.WIDGET: "{}", "text/plain": "cells:  0%|          | 0/3"}
    panel = {site.WIDGET: "{}", "text/plain": "interactive(children=...)"}
    table = {"text/html": "<table><tr><td>wombat</td></tr></table>", "text/plain": "wombat"}
    stream = new_output("stream", name="stdout", text="a < b\n")
    formula = "Below is $x_i < y$ (threshold):\n\n$$\\frac{1}{2}$$\n\nOn to [the next](01_more.ipynb#Second-part)."
    lessons = {
        "00_one": notebook(
            "00 · One & only", formula, [stream, shown({"image/png": png()}), shown(table), shown(bar), shown(panel)]
        ),
        "01_more": notebook("01 · More", "Nothing else, said the kangaroo.", []),
    }
    for name, cells in lessons.items():
        nbformat.write(cells, tmp_path / f"{name}.ipynb")
    return [tmp_path / f"{name}.ipynb" for name in lessons]


class Links(HTMLParser):
    """What a page asks for, where it leads, and what can be led to in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.asks: list[str] = []
        self.leads: list[str] = []
        self.ids: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids += [found["id"]] if found.get("id") else []
        source = found.get("src") or (found.get("href") if tag == "link" else None)
        self.asks += [source] if source else []
        if tag == "a" and found.get("href"):
            self.leads.append(found["href"] or "")


def broken(home: Path) -> list[str]:
    """Links and resources of a site that are not in it."""
    pages = {path.name: Links(path) for path in home.glob("*.html")}
    missing = []
    for name, page in pages.items():
        missing += [f"{name}: {ask}" for ask in page.asks if not ask.startswith("data:") and not (home / ask).is_file()]
        for lead in page.leads:
            where, _, anchor = lead.partition("#")
            if "://" in where:
                continue
            if (where or name) not in pages or (anchor and anchor not in pages[where or name].ids):
                missing.append(f"{name}: {lead}")
    return missing


def test_a_site_is_whole(executed: list[Path], tmp_path: Path) -> None:
    index = site.build(
        executed, tmp_path / "site", title="A & B", closing="## End\n\n| a |\n|---|\n| b |", say=lambda _: None
    )
    home = index.parent
    assert sorted(p.name for p in home.iterdir()) == [
        "00_one.html", "01_more.html", "figures", "index.html", "search.js", "style.css",
    ]  # fmt: skip
    assert broken(home) == []
    text = index.read_text()
    assert "A &amp; B" in text and text.count('class="card"') == 2 and "<td>b</td>" in text
    assert "Is 1 &lt; 2 &amp; <em>true</em>?" in text
    (figure,) = (home / "figures").iterdir()
    assert text.count(f"figures/{figure.name}") == 1 and Image.open(figure).size == (40, 20)
    assert not list(tmp_path.glob(".site*"))


def test_broken_links_are_seen(executed: list[Path], tmp_path: Path) -> None:
    index = site.build(executed[:1], tmp_path / "site", say=lambda _: None)  # without the lesson it leads to
    assert broken(index.parent) == ["00_one.html: 01_more.html#Second-part"]


def test_a_lesson(executed: list[Path], tmp_path: Path) -> None:
    home = site.build(executed, tmp_path / "site", say=lambda _: None).parent
    one, more = ((home / f"{path.stem}.html").read_text() for path in executed)
    assert one.count("<math") == 3 and "<mfrac>" in one and 'display="block"' in one and "$" not in one
    assert 'href="01_more.html#Second-part"' in one and ".ipynb" not in one
    assert "wombat" in one and "a &lt; b" in one and "In&nbsp;[" not in one
    assert "0/3" not in one and "children" not in one and one.count(site.ASIDE) == 1
    assert "<summary>Answers</summary>" in one and "<strong>b</strong>" in one
    assert 'rel="next" href="01_more.html"' in one and 'rel="prev"' not in one
    assert 'rel="prev" href="00_one.html"' in more and 'rel="next"' not in more
    for text in (one, more):
        assert 'href="#First-part"' in text and not re.search(r'(src|<link[^>]*href)="https?:', text)


def test_the_place_of_the_course_is_hidden(executed: list[Path]) -> None:
    lesson = nbformat.read(executed[1], 4)
    lesson.cells[2].outputs = [
        new_output("stream", name="stdout", text="loaded /home/ada/reidkit/runs/x in /home/ada\n")
    ]
    nbformat.write(lesson, executed[1])
    assert "loaded runs/x in /home/ada" in site.page(executed[1], "/home/ada/reidkit").body
    assert "loaded /home/ada/reidkit/runs/x" in site.page(executed[1]).body


def test_what_can_be_searched(executed: list[Path]) -> None:
    one, more = (site.page(path) for path in executed)
    assert [(anchor, head) for anchor, head, _ in one.sections] == [
        ("First-part", "First part"),
        ("Second-part", "Second part"),
    ]
    text = one.sections[0][2]
    assert "threshold" in text and "wombat" not in text and "print" not in text and "<" not in text
    script = site.search([one, more])
    assert "kangaroo" in script and '"01_more.html#First-part"' in script


def test_the_state_of_widgets_is_no_text(executed: list[Path]) -> None:
    lesson = nbformat.read(executed[0], 4)
    states = {"abc": {"model_name": "LayoutModel", "model_module": "@jupyter-widgets/base", "state": {}}}
    lesson.metadata["widgets"] = {
        "application/vnd.jupyter.widget-state+json": {"state": states, "version_major": 2, "version_minor": 0}
    }
    nbformat.write(lesson, executed[0])
    assert "LayoutModel" not in site.page(executed[0]).body


def test_words_stand_as_close_as_on_the_page() -> None:
    body = "<p>Both (<em>triplet</em>), <code>x</code>.</p><p>More &lt; all</p>"
    assert site.plain(body) == "Both (triplet), x. More < all"


def test_another_site_is_replaced_and_nothing_else(executed: list[Path], tmp_path: Path) -> None:
    home = tmp_path / "site"
    site.build(executed, home, say=lambda _: None)
    site.build(executed[1:], home, say=lambda _: None)
    assert not (home / "00_one.html").exists() and broken(home) == []
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="no site"):
        site.build(executed, tmp_path / "mine", say=lambda _: None)
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_what_cannot_be_shown_is_said(executed: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="reidkit course"):
        site.build([], tmp_path / "site")
    lesson = nbformat.read(executed[1], 4)
    lesson.cells[1].source = "## First part\n\n$\\left( x$"
    nbformat.write(lesson, executed[1])
    with pytest.raises(InputError, match="cannot be shown"):
        site.build(executed, tmp_path / "site", say=lambda _: None)
    lesson.cells[0].source = "no title"
    nbformat.write(lesson, executed[1])
    with pytest.raises(InputError, match=r"01_more\.ipynb: the first cell needs"):
        site.build(executed, tmp_path / "site", say=lambda _: None)
    assert not (tmp_path / "site").exists()  # nothing half-written


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_every_lesson_can_become_a_page(path: Path) -> None:
    page = site.page(path)
    assert (
        page.question.strip() and page.sections[-1][1] == "Exercises" and "$" not in site.plain(site.prose(page.body))
    )


@pytest.mark.slow
def test_the_course_makes_a_site_and_ends_with_the_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notebooks").mkdir()
    lesson = notebook("00 · One", "Text.", [])
    lesson.cells[2].source = "1 + 1"
    nbformat.write(lesson, tmp_path / "notebooks" / "00_one.ipynb")
    images = pd.DataFrame({"path": []})
    images.attrs["root"] = "nowhere"
    monkeypatch.setattr(course, "home", lambda: tmp_path)
    monkeypatch.setattr(course, "prepare", lambda *_, **__: images)
    said: list[str] = []
    run.run("smoke", html=True, progress=False, say=said.append)
    home = tmp_path / "course" / "synthetic-smoke"
    assert (home / "site" / "00_one.html").is_file() and broken(home / "site") == []
    assert said[-1].startswith("what the papers claim") and said[-1].count("| not measured |") > 5
    assert "not measured" in (home / "site" / "index.html").read_text()
    said.clear()
    run.run("smoke", only="00", progress=False, say=said.append)
    assert not any("claim" in line for line in said)


@pytest.mark.slow
@pytest.mark.browser
def test_in_a_browser(executed: list[Path], tmp_path: Path) -> None:
    """From the disk, offline: no error on the console, no request elsewhere, nothing wider than the window."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"there is no {CHROMIUM}")
    closing = "\n".join("| " + " | ".join([word] * 5) + " |" for word in ("measured_on", "---", "part_multitask"))
    index = site.build(executed, tmp_path / "site", closing=closing, say=lambda _: None)
    wrong: list[str] = []
    with api.sync_playwright() as player:
        browser = player.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page(viewport={"width": 1300, "height": 900})
        tab.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("requestfailed", lambda request: wrong.append(request.url))
        tab.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else wrong.append(r.url))
        for width in (400, 1300):
            tab.set_viewport_size({"width": width, "height": 900})
            tab.goto(index.as_uri())
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert tab.locator("#found li").count() == 0
        tab.fill("#words", "THRESHOLD below")
        assert tab.locator("#found li").all_inner_texts()[0].startswith("00 · One & only: First part")
        tab.fill("#words", "no such word")
        assert tab.inner_text("#found") == "Nothing found."
        tab.fill("#words", "kangaroo")
        tab.click("#found a")
        assert tab.title() == "01 · More" and tab.url.endswith("01_more.html#First-part")
        tab.click("a[rel=prev]")
        assert tab.title() == "00 · One & only"
        assert tab.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
        assert tab.locator("math[display=block] mfrac").bounding_box()["height"] > 15  # drawn, not printed
        for width in (1300, 400):
            tab.set_viewport_size({"width": width, "height": 900})
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
        browser.close()
    assert wrong == []

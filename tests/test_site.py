"""The documentation: whole pages, no link into nothing, no resource from elsewhere, formulas without a script."""

from __future__ import annotations

import json
import re
import sys
from base64 import b64encode
from contextlib import redirect_stderr
from functools import partial
from html.parser import HTMLParser
from io import BytesIO, StringIO
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

import reidkit
from reidkit import cli, course
from reidkit.course import pages, run
from reidkit.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # of myst-parser and Sphinx, of each other
CHROMIUM = Path("/usr/bin/chromium")
TOP = Path(__file__).parents[1]
NOTEBOOKS = sorted((TOP / "notebooks").glob("*.ipynb"))
ALT = "A blue rectangle and nothing else."
CODE = "import reidkit\nfrom reidkit import plots\n\nplots.cmc({})\nreidkit.evaluate"


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
        metadata={"language_info": {"name": "python"}},
        cells=[
            new_markdown_cell(f"# {title}\n\n**The question.** Is 1 < 2 & *true*?\n\n**Time.** None."),
            new_markdown_cell(f"## First part\n\n{text}"),
            new_code_cell("print('a < b')", outputs=outputs, metadata={"mystnb": {"image": {"alt": ALT}}}),
            new_code_cell(CODE),
            new_markdown_cell(
                "## Second part\n\n<details><summary>Answers</summary>\n\n1. $1/4$ and **b**.\n\n</details>"
            ),
        ],
    )


def written(folder: Path) -> list[Path]:
    """Two lessons that ran: one with a figure, a table, a widget and two progress bars."""
    bar = {pages.WIDGET: "{}", "text/plain": "cells:  0%|          | 0/3"}
    panel = {pages.WIDGET: "{}", "text/plain": "interactive(children=...)"}
    table = {"text/html": "<table><tr><td>wombat</td></tr></table>", "text/plain": "wombat"}
    stream = new_output("stream", name="stdout", text="a < b\n")
    terminal = new_output("stream", name="stderr", text="training:  50%|█████     | 1/2 [00:00<00:00]")
    formula = "Below is $x_i < y$ (threshold):\n\n$$\\frac{1}{2}$$\n\nOn to [the next](01_more.ipynb#second-part)."
    figure, still = shown({"image/png": png()}), [shown(table), shown(bar), shown(panel)]
    lessons = {
        "00_one": notebook("00 · One & only", formula, [stream, terminal, figure, *still]),
        "01_more": notebook("01 · More", "Nothing else, said the kangaroo.", []),
    }
    for name, cells in lessons.items():
        cells.cells[3].outputs = [new_output("stream", name="stderr", text="\r     \n")]  # of a bar that was wiped out
        nbformat.write(cells, folder / f"{name}.ipynb")
    return [folder / f"{name}.ipynb" for name in lessons]


@pytest.fixture
def executed(tmp_path: Path) -> list[Path]:
    return written(tmp_path)


def built(notebooks: list[Path], out: Path, **options: Any) -> Path:
    """The folder of pages, without those of the modules unless they are asked for."""
    pytest.importorskip("myst_nb", reason="there is no Sphinx: pip install -e '.[docs]'")
    return pages.build_pages(notebooks, out, **{"reference": False, "say": lambda _: None} | options).parent


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of two lessons, which the tests only read."""
    folder = tmp_path_factory.mktemp("home")
    return built(written(folder), folder / "site", title="A & B", closing="# End\n\n| a |\n|---|\n| b |")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A site of all lessons, which did not run, of two that did and of all modules; and what Sphinx said of it."""
    folder = tmp_path_factory.mktemp("whole")
    closing = "# Claims\n\n" + "\n".join("| " + " | ".join([word] * 5) + " |" for word in ("measured_on", "---", "map"))
    with redirect_stderr(StringIO()) as said:
        home = built([*NOTEBOOKS, *written(folder)], folder / "site", closing=closing, reference=True)
    return home, said.getvalue()


class Links(HTMLParser):
    """What a page asks for, where it leads, what can be led to in it, and its images without words."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.asks: list[str] = []
        self.leads: list[str] = []
        self.ids: list[str] = []
        self.mute: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids += [found["id"]] if found.get("id") else []
        source = found.get("src") or (found.get("href") if tag == "link" else None)
        self.asks += [source] if source else []
        self.mute += [source] if tag == "img" and source and not found.get("alt") else []
        if tag == "a" and found.get("href"):
            self.leads.append(found["href"] or "")


def broken(home: Path) -> list[str]:
    """Links and resources of a site that are not in it."""
    read = {path.resolve(): Links(path) for path in home.rglob("*.html")}
    missing = []
    for path, page in read.items():
        for ask in page.asks:
            if not ask.startswith(("data:", "#")) and not (path.parent / ask.partition("?")[0]).is_file():
                missing.append(f"{path.name}: {ask}")
        for lead in page.leads:
            where, _, anchor = lead.partition("#")
            if "://" in where:
                continue
            target = (path.parent / where).resolve() if where else path
            if target not in read or (anchor and anchor not in read[target].ids):
                missing.append(f"{path.name}: {lead}")
    return missing


def test_a_site_is_whole(home: Path) -> None:
    assert broken(home) == []
    names = {str(path.relative_to(home)) for path in home.rglob("*.html")}
    assert names == {
        "index.html", "notebooks/00_one.html", "notebooks/01_more.html", "claims.html", "figures/RESULTS.html",
        "figures/README.html", "datasets/README.html", "CONTRIBUTING.html", "ETHICS.html", "reference/index.html",
        "search.html",
    }  # fmt: skip
    text = (home / "index.html").read_text()
    assert "A &amp; B" in text and text.count('class="card docutils container"') == 2
    assert "Is 1 &lt; 2 &amp; <em>true</em>?" in text and text.count(f'alt="{ALT}"') == 1
    assert "<p>b</p>" in (home / "claims.html").read_text()
    (figure,) = {path.read_bytes() for path in (home / "_images").iterdir()}
    assert Image.open(BytesIO(figure)).size == (40, 20)
    assert not list(home.parent.glob(".site*")) and not list(home.rglob("*.ipynb"))


def test_nothing_comes_from_elsewhere(home: Path) -> None:
    for path in home.rglob("*.html"):
        assert [ask for ask in Links(path).asks if "//" in ask and not ask.startswith("data:")] == [], path
    for path in home.rglob("*.css"):
        assert re.findall(r"""(?:@import|url\()\s*["']?(?:https?:)?//""", path.read_text()) == [], path
    assert not [path for path in home.rglob("*") if path.suffix in (".woff", ".woff2", ".ttf")]


def test_broken_links_are_seen(tmp_path: Path) -> None:
    page = '<a href="00.html">x</a><a href="#here">y</a><img src="z.png"><a href="https://example.org">w</a>'
    (tmp_path / "page.html").write_text(page)
    assert broken(tmp_path) == ["page.html: z.png", "page.html: 00.html", "page.html: #here"]
    assert Links(tmp_path / "page.html").mute == ["z.png"]


def test_a_lesson_that_did_not_run_is_no_link(executed: list[Path], tmp_path: Path) -> None:
    home = built(executed[:1], tmp_path / "site")
    one = (home / "notebooks" / "00_one.html").read_text()
    assert broken(home) == [] and "the next" in one and "01_more" not in one


def test_a_lesson(home: Path) -> None:
    one, more = ((home / "notebooks" / f"{name}.html").read_text() for name in ("00_one", "01_more"))
    assert one.count("<math") == 3 and "<mfrac>" in one and 'display="block"' in one
    assert "$" not in one[one.index("<article") : one.index("</article>")]
    assert 'href="01_more.html#second-part"' in one and ".ipynb" not in one
    assert "wombat" in one and "a &lt; b" in one and "stderr" not in one
    assert "0/3" not in one and "1/2" not in one and "interactive(" not in one and one.count(pages.ASIDE) == 1
    assert "<summary>Answers</summary>" in one and "<strong>b</strong>" in one
    assert one.count(f'alt="{ALT}"') == 1 and Links(home / "notebooks" / "00_one.html").mute == []
    assert 'rel="next" title="01 · More" href="01_more.html"' in one
    assert 'rel="prev" title="00 · One &amp; only" href="00_one.html"' in more
    assert all('href="#first-part"' in text for text in (one, more))


def test_a_lesson_ends_with_what_it_calls(home: Path) -> None:
    text = (home / "notebooks" / "00_one.html").read_text()
    end = re.sub(r"<[^>]+>", "", text[text.index('<section id="functions-of-this-lesson">') :])
    assert "ranking.evaluate: Measure CMC" in end and "plots.cmc: Cumulative match curves" in end


def test_the_place_of_the_course_is_hidden(executed: list[Path], tmp_path: Path) -> None:
    lesson = nbformat.read(executed[1], 4)
    text = "loaded /home/ada/reidkit/runs/x in /home/ada\n"
    lesson.cells[2].outputs = [new_output("stream", name="stdout", text=text)]
    nbformat.write(lesson, executed[1])
    (tmp_path / "notebooks").mkdir()
    for hide, said in (("/home/ada/reidkit", "loaded runs/x in /home/ada\n"), ("", text)):
        pages.staged(executed[1], tmp_path, hide)
        staged = nbformat.read(tmp_path / "notebooks" / executed[1].name, 4)
        assert staged.cells[2].outputs[0].text == said


def test_what_can_be_searched(home: Path) -> None:
    script = (home / "searchindex.js").read_text()
    assert script.startswith("Search.setIndex(")
    index = json.loads(script[len("Search.setIndex(") : -1])
    assert "notebooks/01_more" in index["docnames"] and "First part" in index["alltitles"]
    assert index["terms"]["kangaroo"] == index["docnames"].index("notebooks/01_more")


def test_the_state_of_widgets_is_no_text(executed: list[Path], tmp_path: Path) -> None:
    lesson = nbformat.read(executed[0], 4)
    states = {"abc": {"model_name": "LayoutModel", "model_module": "@jupyter-widgets/base", "state": {}}}
    lesson.metadata["widgets"] = {
        "application/vnd.jupyter.widget-state+json": {"state": states, "version_major": 2, "version_minor": 0}
    }
    nbformat.write(lesson, executed[0])
    (tmp_path / "notebooks").mkdir()
    pages.staged(executed[0], tmp_path, "")
    assert "LayoutModel" not in (tmp_path / "notebooks" / executed[0].name).read_text()


def test_another_site_is_replaced_and_nothing_else(executed: list[Path], tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "index.html").write_text("an older one")
    (site / "00_old.html").write_text("of a lesson that is gone")
    built(executed[1:], site)
    assert not (site / "00_old.html").exists() and "an older" not in (site / "index.html").read_text()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="no site"):
        built(executed, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_what_cannot_be_shown_is_said(executed: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="reidkit course"):
        pages.build_pages([], tmp_path / "site")
    lesson = nbformat.read(executed[1], 4)
    lesson.cells[1].source = "## First part\n\n$\\left( x$"
    nbformat.write(lesson, executed[1])
    with pytest.raises(InputError, match="cannot be shown"):
        built(executed, tmp_path / "site")
    lesson.cells[0].source = "no title"
    nbformat.write(lesson, executed[1])
    with pytest.raises(InputError, match=r"01_more\.ipynb: the first cell needs"):
        built(executed, tmp_path / "site")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00_one.ipynb", "01_more.ipynb"]  # nothing half-written


def test_without_sphinx_it_is_said_what_to_install(
    executed: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "find_spec", lambda name: None if name == "furo" else name)
    with pytest.raises(InputError, match=r"no Sphinx.*pip install -e '\.\[docs\]'"):
        pages.build_pages(executed, tmp_path / "site")
    with pytest.raises(InputError, match="no Sphinx"):  # before a lesson runs, not after
        run.run("smoke", html=True, say=lambda _: None)


def figureless(outputs: list[nbformat.NotebookNode], source: str = "plots.save(axes)", metadata: Any = None) -> str:
    """What is said of a notebook whose third cell draws."""
    lesson = notebook("00 · One", "Text.", outputs)
    lesson.cells[2].source = source
    lesson.cells[2].metadata = lesson.cells[2].metadata if metadata is None else metadata
    said = pages.without_figure(lesson)
    assert pages.without_figure(json.loads(nbformat.writes(lesson))) == said  # as it lies on the disk
    return said


def test_a_cell_that_draws_shows_a_figure_or_a_widget() -> None:
    bar = shown({pages.WIDGET: "{}", "text/plain": "cells:  0%|          | 0/3"})
    words = new_output("stream", name="stdout", text="drawn")
    for nothing in ([], [words], [bar], [shown({"text/plain": "<Axes>"})]):
        assert figureless(nothing) == "cell 3 draws a figure, and its outputs hold none"
        assert figureless(nothing, metadata={}) == ""
    panel = shown({pages.WIDGET: "{}", "text/plain": "Box()"})
    assert figureless([words, shown({"image/png": png()})]) == figureless([bar, panel]) == ""


def test_where_the_data_decide_a_figure_may_be_missing() -> None:
    for head in ("if rows:", "try:\n    1\nexcept KeyError:", "for i in (1, 2):\n  if i:"):
        assert figureless([], f"{head}\n    plots.save(axes)") == ""
    for head in ("for i in (1, 2):", "with style:", "if rows:\n    1\nwhile rows:"):
        assert figureless([], f"{head}\n    plots.save(axes)").startswith("cell 3 draws")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_lesson_says_why_a_figure_is_missing(path: Path) -> None:
    """Where the data decide, there is a sentence for those that do not allow the figure."""
    cells = [cell for cell in nbformat.read(path, 4).cells if "plots.save(" in cell.source]
    assert [cell.id for cell in cells if not pages.must_draw(cell.source) and "print(" not in cell.source] == []
    assert sum(pages.must_draw(cell.source) for cell in cells) >= 0.8 * len(cells)


def test_no_pages_without_the_figures(
    executed: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lessons of an older reidkit may lack them."""
    monkeypatch.setattr(course, "home", lambda: tmp_path)
    with pytest.raises(InputError, match=r"01_more\.ipynb: cell 3 draws .*; `reidkit course` runs the lesson again"):
        pages.document("smoke", lessons_in=executed[0].parent)
    assert not (tmp_path / "site").exists() and capsys.readouterr().out == ""


def test_without_executed_lessons_there_are_no_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(course, "home", lambda: tmp_path)
    folder = tmp_path / "course" / "synthetic-smoke"
    folder.mkdir(parents=True)
    (folder / "00_one.failed.ipynb").write_text("{}")
    monkeypatch.setattr(sys, "argv", ["reidkit", "docs", "--profile", "smoke"])
    with pytest.raises(SystemExit, match="1"):
        cli.main()
    assert re.fullmatch(r"error: there is no executed lesson .*`reidkit course` runs them\.\n", capsys.readouterr().err)
    with pytest.raises(InputError, match="did you mean 'smoke'"):
        pages.document("smoek")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_every_lesson_can_become_a_page(path: Path, tmp_path: Path) -> None:
    """It has a question for its card, and what it leads to is there."""
    (tmp_path / "notebooks").mkdir()
    assert re.search(rf"\[.+\]\(notebooks/{path.name}\)\n\n\w.+", pages.staged(path, tmp_path, ""))
    cells = nbformat.read(path, 4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert re.findall(r"^## (.+)", text, re.M)[-1] == "Exercises"
    leads = [lead for lead in re.findall(r"\]\(([^)#]+)", text) if "://" not in lead]
    assert [lead for lead in leads if not (path.parent / lead).exists()] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_every_figure_says_in_words_what_it_shows(path: Path) -> None:
    """Each cell that draws has an alt text, of its code and, where the lesson has run here, of its outputs."""
    cells = {cell.id: cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"}
    drawing = {name for name, cell in cells.items() if "plots.save(" in cell.source}
    for ran in (TOP / "course").glob(f"*/{path.name}"):
        seen = [cell for cell in nbformat.read(ran, 4).cells if "image/png" in str(cell.get("outputs", ""))]
        drawing |= {cell.id for cell in seen if cell.id in cells and cells[cell.id].source == cell.source}
    texts = [cells[name].metadata.get("mystnb", {}).get("image", {}).get("alt", "") for name in drawing]
    assert drawing and [text for text in texts if len(text.split()) < 4] == []
    assert len(set(texts)) == len(texts)


@pytest.mark.slow
def test_the_library_has_a_page_for_every_module(whole: tuple[Path, str]) -> None:
    home, said = whole
    assert said == ""  # every docstring and every text is read without a warning
    modules = {module.name for module in walk_packages(reidkit.__path__, "reidkit.")}
    assert {path.stem for path in (home / "reference").glob("reidkit.*.html")} == modules
    assert broken(home) == []
    assert 'id="reidkit.ranking.evaluate"' in (home / "reference" / "reidkit.ranking.html").read_text()
    index = (home / "reference" / "index.html").read_text()
    assert all(f'title="{module}"' in index for module in modules)
    assert 'href="reidkit.ranking.html#reidkit.ranking.evaluate"' in index
    for lesson in NOTEBOOKS:
        page = (home / "notebooks" / f"{lesson.stem}.html").read_text()
        listed = page[page.index('<section id="functions-of-this-lesson">') : page.index("</article>")]
        links = re.findall(r'href="../reference/(reidkit\.[\w.]+)\.html#\1', listed)
        assert len(links) > 3 and len(links) == listed.count("<li>")
        assert "$" not in re.sub(r"<(pre|code|math)\b.*?</\1>", "", page[page.index("<article") :], flags=re.S)
    assert not [path for path in home.rglob("*.html") if str(TOP) in path.read_text()]


@pytest.mark.slow
def test_the_course_makes_a_site_and_ends_with_the_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("myst_nb")
    (tmp_path / "notebooks").mkdir()
    lesson = notebook("00 · One", "Text.", [])
    lesson.cells[2].source = "from matplotlib import pyplot as plt\nplt.plot([1, 2]);"
    lesson.cells[3].source = "2"
    monkeypatch.setenv("MPLBACKEND", "Agg")  # figures come all the same
    nbformat.write(lesson, tmp_path / "notebooks" / "00_one.ipynb")
    images = pd.DataFrame({"path": []})
    images.attrs["root"] = "nowhere"
    monkeypatch.setattr(course, "home", lambda: tmp_path)
    monkeypatch.setattr(course, "prepare", lambda *_, **__: images)
    monkeypatch.setattr(pages, "build_pages", partial(pages.build_pages, reference=False))
    said: list[str] = []
    run.run("smoke", html=True, progress=False, say=said.append)
    home = tmp_path / "course" / "synthetic-smoke"
    page = home / "site" / "notebooks" / "00_one.html"
    assert f'alt="{ALT}"' in page.read_text() and broken(home / "site") == []
    assert any(line.endswith(str(home / "site" / "index.html")) for line in said)
    assert said[-1].startswith("what the papers claim") and said[-1].count("| not measured |") > 5
    assert "not measured" in (home / "site" / "claims.html").read_text()
    pages.document("smoke", out=tmp_path / "elsewhere", say=said.append)
    assert (tmp_path / "elsewhere" / "notebooks" / "00_one.html").is_file()
    said.clear()
    run.run("smoke", only="00", progress=False, say=said.append)
    assert not any("claim" in line for line in said)


@pytest.mark.slow
@pytest.mark.browser
def test_in_a_browser(whole: tuple[Path, str]) -> None:
    """From the disk, offline: no error on the console, no request elsewhere, nothing wider than the window."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"there is no {CHROMIUM}")
    home, _ = whole
    wrong: list[str] = []
    with api.sync_playwright() as player:
        browser = player.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        tab.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        left = "net::ERR_ABORTED"  # what was still loading when a click led elsewhere
        tab.on("requestfailed", lambda request: wrong.append(request.url) if request.failure != left else None)
        tab.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else wrong.append(r.url))
        for width in (400, 1280):
            tab.set_viewport_size({"width": width, "height": 900})
            for page in sorted(home.rglob("*.html")):
                tab.goto(page.as_uri())
                assert tab.evaluate("document.documentElement.scrollWidth") <= width, page
                images = "[...document.images].every((image) => image.complete && image.naturalWidth && image.alt)"
                assert tab.evaluate(images), page
        search(tab, home, "kangaroo", "01 · More")
        tab.click(".prev-page")
        tab.wait_for_selector("h1:has-text('00 · Start here')")  # a click does not wait for the page it leads to
        assert tab.locator(".formula mfrac").first.bounding_box()["height"] > 15  # drawn, not printed
        tab.click("a:has-text('ranking.evaluate')")
        tab.wait_for_url("**/reference/reidkit.ranking.html#reidkit.ranking.evaluate")
        tab.wait_for_selector("[id='reidkit.ranking.evaluate']")
        tab.goto((home / "index.html").as_uri())
        tab.click(".card >> nth=0", position={"x": 20, "y": 60})  # the whole card leads to the lesson
        tab.wait_for_url("**/notebooks/00_*")
        search(tab, home, "batch_hard_triplet", "reidkit.losses")
        tab.goto((home / "search.html").as_uri() + "?q=nosuchwordatall")
        tab.wait_for_selector("text=did not match any documents")
        browser.close()
    assert wrong == []


def search(tab: Any, home: Path, words: str, title: str) -> None:
    """Type into the search of the index, and follow the hit of this title."""
    tab.goto((home / "index.html").as_uri())
    tab.fill(".sidebar-search", words)
    tab.press(".sidebar-search", "Enter")
    tab.click(f"#search-results a:has-text('{title}')")

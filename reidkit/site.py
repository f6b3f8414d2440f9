"""The executed course as a static site: opens from the disk, asks nothing of any network."""

from __future__ import annotations

import html
import json
import logging
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from .errors import InputError

WIDGET = "application/vnd.jupyter.widget-view+json"
ASIDE = '<p class="aside">This panel moves: open the lesson with <code>reidkit lab</code>.</p>'
FIGURES = "figures"  # the folder of the site that holds them


@dataclass(frozen=True)
class Page:
    """One lesson as it goes into the site."""

    name: str  # of the file, without its ending
    title: str
    question: str  # HTML
    body: str  # HTML
    sections: tuple[tuple[str, str, str], ...]  # (id, heading, text to search in)
    figures: dict[str, bytes]  # by file name, in order


def build(
    notebooks: Sequence[Path],
    out: Path,
    *,
    title: str = "reidkit",
    closing: str = "",
    hide: str = "",
    say: Callable[[str], None] = print,
) -> Path:
    """Write the site: an index with one card a lesson, a page a lesson, a search over all sections.

    Args:
        notebooks: executed lessons, in order.
        out: the site's folder. If there is one already, it is replaced once the new one is whole.
        title: of the index.
        closing: Markdown that ends the index.
        hide: the folder of the course on this machine, cut off paths in what lessons printed.
        say: called with a line when the site is written.
    Returns:
        the path of index.html.
    Raises:
        InputError: no notebooks, a formula that cannot be written, a folder that is not a site.
    """
    if not notebooks:
        raise InputError("there is no executed lesson to make a site of: `reidkit course` runs them.")
    if out.exists() and not (out / "index.html").is_file():
        raise InputError(f"{out} is there and no site (it has no index.html): choose another folder or remove it.")
    pages = [page(path, hide) for path in notebooks]
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".site") as temporary:
        whole = Path(temporary) / "site"
        (whole / FIGURES).mkdir(parents=True)
        for before, here, after in zip([None, *pages[:-1]], pages, [*pages[1:], None], strict=True):
            (whole / f"{here.name}.html").write_text(lesson(here, before, after), encoding="utf-8")
            for name, data in here.figures.items():
                (whole / FIGURES / name).write_bytes(data)
        (whole / "index.html").write_text(index(pages, title, closing), encoding="utf-8")
        (whole / "style.css").write_text(style(), encoding="utf-8")
        (whole / "search.js").write_text(search(pages), encoding="utf-8")
        shutil.rmtree(out, ignore_errors=True)
        whole.replace(out)
    say(f"site of {len(pages)} lessons in {out / 'index.html'}")
    return out / "index.html"


# --- one lesson ----------------------------------------------------------------------------------------------


def page(path: Path, hide: str = "") -> Page:
    """Turn an executed notebook into HTML, its figures apart, without the folder `hide` in front of paths."""
    notebook = nbformat.read(path, as_version=4)
    heading, question = opening(notebook, path)
    notebook.metadata.pop("widgets", None)  # their state: of no use without a kernel, and megabytes
    for cell in notebook.cells:
        if "outputs" in cell:
            cell.outputs = [still(output) for output in cell.outputs if not is_bar(output)]
    body, figures = converted(notebook, path.stem)
    body = re.sub(r'href="(\d\d_\w+)\.ipynb', r'href="\1.html', body)
    body = body.replace(f"{html.escape(hide)}/", "") if hide else body
    body = body.replace("No description has been provided for this image", "figure of this lesson")
    return Page(path.stem, heading, rendered(question), body, tuple(sections(body)), figures)


def is_bar(output: Any) -> bool:
    """Whether an output is a progress bar, which is of no use afterwards."""
    data = output.get("data", {})
    return WIDGET in data and re.search(r"\d%\|", data.get("text/plain", "")) is not None


def still(output: Any) -> Any:
    """An output, or a sentence instead of a widget, whose state died with the kernel."""
    if WIDGET in output.get("data", {}):
        output.data = nbformat.from_dict({"text/html": ASIDE})
    return output


def opening(notebook: Any, path: Path) -> tuple[str, str]:
    """Title and question, in Markdown, from a lesson's first cell."""
    first = notebook.cells[0].source if notebook.cells else ""
    title = re.match(r"# (.+)", first)
    question = re.search(r"\*\*The question\.\*\* (.+?)(?:\n\n|$)", first, re.S)
    if title is None or question is None:
        raise InputError(f"{path}: the first cell needs '# a title' and a paragraph '**The question.** ...'.")
    return title[1].strip(), question[1].strip()


def converted(notebook: Any, name: str) -> tuple[str, dict[str, bytes]]:
    """HTML of a notebook without style or script, and its figures by file name."""
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    class Exporter(HTMLExporter):
        """Formulas become MathML, which browsers draw themselves."""

        def default_filters(self) -> Any:
            yield from super().default_filters()
            yield "markdown2html", rendered

    settings = Config()
    settings.HTMLExporter.preprocessors = ["nbconvert.preprocessors.ExtractOutputPreprocessor"]
    settings.ExtractOutputPreprocessor.output_filename_template = (
        FIGURES + "/{unique_key}_{cell_index}_{index}{extension}"
    )
    quiet = logging.getLogger("reidkit.site")
    quiet.setLevel(logging.ERROR)  # it would complain about every figure, that notebooks have no words for them
    exporter = Exporter(
        log=quiet, config=settings, template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True
    )
    resources = {"unique_key": name, "output_files_dir": ""}
    body, found = exporter.from_notebook_node(notebook, resources)
    figures = {Path(file).name: data for file, data in found.get("outputs", {}).items()}
    return body, figures


def rendered(markdown: str) -> str:
    """Markdown with formulas as HTML with MathML."""
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Renderer(IPythonRenderer):
        def block_math(self, body: str) -> str:
            return mathml(body, "block")

        def inline_math(self, body: str) -> str:
            return mathml(body, "inline")

    return MarkdownWithMath(renderer=Renderer(escape=False, anchor_link_text="#")).render(markdown)


def mathml(formula: str, display: str) -> str:
    """A formula of LaTeX as MathML; InputError where it cannot be read."""
    from latex2mathml.converter import convert

    try:
        return convert(formula.strip(), display=display)
    except Exception as error:
        raise InputError(f"the formula ${formula.strip()}$ cannot be shown in a browser: {error}.") from error


def sections(body: str) -> list[tuple[str, str, str]]:
    """(id, heading, text) of every second-level heading and what follows it."""
    found = []
    for part in re.split(r"(?=<h2 )", body)[1:]:
        head, _, rest = part.partition("</h2>")
        anchor = re.search(r'id="([^"]+)"', head)
        if anchor:
            found.append((anchor[1], plain(re.sub(r"<a .*?</a>", "", head)), plain(prose(rest))))
    return found


def prose(body: str) -> str:
    """HTML without code, tables and formulas: what one searches for."""
    return re.sub(r"<(pre|table|math|style)\b.*?</\1>", " ", body, flags=re.S)


def plain(body: str) -> str:
    """The words of HTML; what is emphasised within a sentence stands as close as it does there."""
    body = re.sub(r"</?(em|strong|code|a|span)\b[^>]*>", "", body)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


# --- the pages -----------------------------------------------------------------------------------------------

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="style.css">
</head>
<body class="{kind}">
{body}
</body>
</html>
"""


def filled(title: str, kind: str, body: str) -> str:
    """A whole page."""
    return PAGE.format(title=html.escape(title), kind=kind, body=body)


def lesson(here: Page, before: Page | None, after: Page | None) -> str:
    """The page of a lesson: contents, body, the way to the lessons beside it."""
    items = "".join(f'<li><a href="#{anchor}">{html.escape(head)}</a></li>' for anchor, head, _ in here.sections)
    back = f'<a rel="prev" href="{before.name}.html">← {html.escape(before.title)}</a>' if before else "<span></span>"
    on = f'<a rel="next" href="{after.name}.html">{html.escape(after.title)} →</a>' if after else "<span></span>"
    return filled(
        here.title,
        "lesson",
        f'<header><a href="index.html">All lessons</a></header>\n'
        f'<nav class="contents" aria-label="In this lesson"><ul>{items}</ul></nav>\n'
        f'<main>\n{here.body}\n<nav class="beside" aria-label="Lessons">{back}{on}</nav>\n</main>',
    )


def index(pages: Sequence[Page], title: str, closing: str) -> str:
    """The page with the cards."""
    cards = []
    for here in pages:
        first = next((name for name in here.figures if name.endswith(".png")), None)
        picture = f'<img src="{FIGURES}/{first}" alt="" loading="lazy">' if first else ""
        cards.append(
            f'<article class="card"><a class="picture" href="{here.name}.html" tabindex="-1" aria-hidden="true">'
            f'{picture}</a><h2><a href="{here.name}.html">{html.escape(here.title)}</a></h2>{here.question}</article>'
        )
    form = (
        '<form role="search" onsubmit="return false"><label>Search the lessons '
        '<input id="words" type="search" autocomplete="off"></label></form><ol id="found"></ol>'
    )
    end = f'<section class="closing">{rendered(closing)}</section>' if closing else ""
    body = f"<main><h1>{html.escape(title)}</h1>\n{form}\n<div class='cards'>{''.join(cards)}</div>\n{end}</main>"
    return filled(title, "index", body + '\n<script src="search.js"></script>')


def search(pages: Sequence[Page]) -> str:
    """A script with the words of every section, that lists those with all words typed."""
    rows = [[f"{p.name}.html#{anchor}", p.title, head, text] for p in pages for anchor, head, text in p.sections]
    return f"const SECTIONS = {json.dumps(rows, ensure_ascii=False)};\n{SCRIPT}"


SCRIPT = """
const words = document.getElementById("words"), found = document.getElementById("found");
words.addEventListener("input", () => {
  const asked = words.value.toLowerCase().split(/\\s+/).filter(Boolean);
  found.replaceChildren();
  if (!asked.length) return;
  const holds = (text) => asked.every((word) => text.toLowerCase().includes(word));
  const hits = SECTIONS.filter(([, title, head, text]) => holds(`${title} ${head} ${text}`));
  hits.sort((a, b) => holds(b[2]) - holds(a[2]));
  for (const [link, title, head, text] of hits.slice(0, 12)) {
    const item = document.createElement("li"), a = document.createElement("a"), rest = document.createElement("p");
    a.href = link;
    a.textContent = `${title}: ${head}`;
    const near = text.toLowerCase().indexOf(asked[0]) - 60, at = near > 0 ? text.indexOf(" ", near) + 1 : 0;
    const end = text.length > at + 180 ? text.lastIndexOf(" ", at + 180) : text.length;
    rest.textContent = (at ? "… " : "") + text.slice(at, end) + (end < text.length ? " …" : "");
    item.append(a, rest);
    found.append(item);
  }
  if (!hits.length) found.append(Object.assign(document.createElement("li"), {textContent: "Nothing found."}));
});
"""


def style() -> str:
    """The style sheet; the colours of code are those of pygments."""
    from pygments.formatters import HtmlFormatter

    return STYLE + HtmlFormatter(style="friendly").get_style_defs(".highlight")


STYLE = """
:root { --ink: #1c2430; --soft: #5b6676; --line: #d9dee5; --blue: #00588a; --paper: #fff; --wash: #f5f7f9; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: var(--paper); font: 17px/1.6 system-ui, "Segoe UI", sans-serif; }
a { color: var(--blue); }
h1 { font-size: 1.9rem; line-height: 1.25; }
h2 { font-size: 1.35rem; margin-top: 2.6rem; }
h1, h2, h3 { text-wrap: balance; }
header { padding: .8rem 1.5rem; border-bottom: 1px solid var(--line); }
.anchor-link { visibility: hidden; margin-left: .4rem; color: var(--soft); text-decoration: none; }
h1:hover .anchor-link, h2:hover .anchor-link, .anchor-link:focus { visibility: visible; }
.lesson { display: grid; grid-template-columns: minmax(0, 58rem); justify-content: center; column-gap: 2.5rem; }
.lesson header { grid-column: 1 / -1; width: 100vw; margin-left: calc(50% - 50vw); }
.lesson main { padding: 1rem 1.5rem 4rem; min-width: 0; }
.text_cell_render > p, .text_cell_render > ul, .text_cell_render > ol, .text_cell_render > details { max-width: 46rem; }
.contents { font-size: .85rem; padding: 1rem 1.5rem 0; }
.contents ul { list-style: none; margin: 0; padding: 0; columns: 14rem; }
.contents li { margin: .35rem 0; line-height: 1.35; break-inside: avoid; }
.contents a { color: var(--soft); text-decoration: none; }
.contents a:hover { color: var(--blue); text-decoration: underline; }
@media (min-width: 1200px) {
  .lesson { grid-template-columns: 12rem minmax(0, 58rem); }
  .contents { padding: 1.6rem 0 0 1rem; position: sticky; top: 0; align-self: start; }
  .contents ul { columns: 1; max-height: 95vh; overflow: auto; }
}
pre { margin: 0; padding: .7rem .9rem; overflow-x: auto; font: .8rem/1.5 ui-monospace, "DejaVu Sans Mono", monospace; }
code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .88em; }
.highlight { background: var(--wash) !important; border: 1px solid var(--line); border-radius: 6px; margin: .6rem 0; }
.output pre { background: none; border-left: 3px solid var(--line); color: #333d4b; }
.output_stderr pre { color: var(--soft); }
.output img { max-width: 100%; height: auto; display: block; margin: .6rem auto; }
.output_html, .text_cell_render, .closing { overflow-x: auto; }
table { border-collapse: collapse; border: 0; font-size: .85rem; margin: .6rem 0; }
th, td { padding: .25rem .6rem; border: 0; border-bottom: 1px solid var(--line); text-align: right; }
thead th { border-bottom: 2px solid var(--soft); }
.closing th, .closing td { text-align: left; vertical-align: top; }
math { font-size: 1.05em; }
math[display=block] { margin: 1rem 0; overflow-x: auto; overflow-y: hidden; padding: .2rem 0; }
details { background: var(--wash); border: 1px solid var(--line); border-radius: 6px; padding: .5rem 1rem; }
summary { cursor: pointer; }
.aside { color: var(--soft); font-style: italic; }
.beside { display: flex; justify-content: space-between; gap: 2rem; margin-top: 3rem; padding-top: 1rem; }
.beside { border-top: 1px solid var(--line); }
.beside [rel=next] { text-align: right; }
.index main { max-width: 72rem; margin: 0 auto; padding: 1rem 1.5rem 4rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); gap: 1.5rem; }
.card { border: 1px solid var(--line); border-radius: 8px; padding: 1rem 1.2rem; }
.card h2 { font-size: 1.1rem; line-height: 1.3; margin: .8rem 0 .4rem; }
.card p { margin: 0; font-size: .92rem; color: #333d4b; }
.card .picture { display: block; height: 10rem; overflow: hidden; background: var(--paper); }
.card img { width: 100%; height: 100%; object-fit: contain; }
form { margin: 1rem 0; }
input { font: inherit; padding: .35rem .6rem; border: 1px solid var(--soft); border-radius: 6px; }
input { width: min(24rem, 100%); }
#found { padding-left: 1.2rem; }
#found p { margin: .1rem 0 .7rem; color: var(--soft); font-size: .9rem; }
@media print { header, .contents, .beside, form { display: none; } }
"""

"""The documentation: executed lessons and the library's reference as pages, built by Sphinx from what docs/ holds."""

from __future__ import annotations

import ast
import re
import shutil
import sys
import tempfile
from base64 import b64decode
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nbformat

from .. import course
from ..errors import InputError, choose
from ..files import new_folder
from ..images import CARDS
from ..recipes import PROFILES
from . import claims

TOP = Path(__file__).resolve().parents[2]  # the checkout
TEXTS = ("CONTRIBUTING.md", "ETHICS.md", "datasets/README.md", "figures/README.md", "figures/RESULTS.md")
WIDGET = "application/vnd.jupyter.widget-view+json"
BAR = re.compile(r"\d%\|")  # of tqdm
ASIDE = '<p class="aside">This panel moves: open the lesson with <code>reidkit lab</code>.</p>'


def require_sphinx() -> None:
    """Raise InputError unless what builds the documentation is installed."""
    if any(find_spec(name) is None for name in ("sphinx", "myst_nb", "furo", "latex2mathml")):
        raise InputError("there is no Sphinx, which builds the documentation: pip install -e '.[docs]'.")


def document(
    profile: str = "quick",
    dataset: str = "synthetic",
    out: Path | None = None,
    *,
    lessons_in: Path | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Build the documentation with the lessons that were executed.

    Args:
        profile: with which they ran.
        dataset: on which they ran.
        out: the folder of the pages; None: site/ beside the executed lessons.
        lessons_in: where those are; None: course/<dataset>-<profile>.
        say: called with a line when the pages are written.
    Returns:
        the path of index.html.
    Raises:
        InputError: no executed lessons, one without a figure that it draws, what `build_pages` refuses.
    """
    choose(profile, PROFILES, "profile")
    choose(dataset, CARDS, "dataset")
    folder = lessons_in or course.home() / "course" / f"{dataset}-{profile}"
    executed = [path for path in sorted(folder.glob("[0-9][0-9]_*.ipynb")) if ".failed" not in path.name]
    for path in executed:
        if missing := without_figure(nbformat.read(path, as_version=4)):
            raise InputError(f"{path}: {missing}; `reidkit course` runs the lesson again.")
    about = "[Lesson 10](notebooks/10_report.ipynb) says how a claim is taken apart and what a verdict means."
    closing = f"# What the papers claim\n\n{about}\n\n{claims.in_words(course.home() / 'figures')}"
    title, hide = f"reidkit on {dataset}, {profile}", str(course.home())
    return build_pages(executed, out or folder / "site", title=title, closing=closing, hide=hide, say=say)


def build_pages(
    notebooks: Sequence[Path],
    out: Path,
    *,
    title: str = "reidkit",
    closing: str = "",
    hide: str = "",
    reference: bool = True,
    say: Callable[[str], None] = print,
) -> Path:
    """Write the documentation: an index with a card a lesson, the lessons, a page a module, results and claims.

    Args:
        notebooks: executed lessons, in order.
        out: the folder of the pages. If there are some already, they are replaced once the new ones are whole.
        title: of the whole.
        closing: Markdown of the page about the claims.
        hide: the folder of the course on this machine, cut off paths in what lessons printed.
        reference: whether the modules have pages; they take most of the time.
        say: called with a line when the pages are written.
    Returns:
        the path of index.html.
    Raises:
        InputError: no notebooks, no Sphinx, a formula that cannot be written, a folder that holds something else.
    """
    if not notebooks:
        raise InputError("there is no executed lesson to make pages of: `reidkit course` runs them.")
    if out.exists() and not (out / "index.html").is_file():
        raise InputError(f"{out} is there and no site (it has no index.html): choose another folder or remove it.")
    require_sphinx()
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace, patch_docutils

    with tempfile.TemporaryDirectory(prefix="reidkit") as temporary, new_folder(out, instead=True) as pages:
        sources, html, trees = (Path(temporary) / name for name in ("sources", "html", "trees"))
        shutil.copytree(TOP / "docs", sources)
        for name in TEXTS:
            (sources / name).parent.mkdir(exist_ok=True)
            shutil.copy(TOP / name, sources / name)
        (sources / "notebooks").mkdir()
        (sources / "cards.md").write_text("\n".join(staged(path, sources, hide) for path in notebooks), "utf-8")
        (sources / "claims.md").write_text(closing or "# Claims", "utf-8")
        settings = {"html_title": title, "reference": reference}
        with patch_docutils(sources), docutils_namespace():
            Sphinx(sources, sources, html, trees, "html", settings, status=None, warning=sys.stderr).build()
        shutil.copytree(html, pages, dirs_exist_ok=True)
    say(f"{len(notebooks)} lessons and the reference of the library in {out / 'index.html'}")
    return out / "index.html"


def staged(path: Path, sources: Path, hide: str) -> str:
    """Put a lesson among the sources, without `hide` in front of paths; returns its card: picture, title, question."""
    text = path.read_text(encoding="utf-8")
    notebook = nbformat.reads(text.replace(f"{hide}/", "") if hide else text, as_version=4)
    first = notebook.cells[0].source if notebook.cells else ""
    title = re.match(r"# (.*\S)", first)
    question = re.search(r"\*\*The question\.\*\* (.+?)(?:\n\n|$)", first, re.S)
    if title is None or question is None:
        raise InputError(f"{path}: the first cell needs '# a title' and a paragraph '**The question.** ...'.")
    notebook.metadata.pop("widgets", None)  # their state: of no use without a kernel, and megabytes
    figures = []
    for cell in (cell for cell in notebook.cells if "outputs" in cell):
        cell.outputs = [output for output in map(still, cell.outputs) if output]
        images = [output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]
        figures += [(cell.metadata.get("mystnb", {}).get("image", {}).get("alt", ""), image) for image in images]
    nbformat.write(notebook, sources / "notebooks" / path.name)
    picture = ""
    if figures:
        (sources / f"{path.stem}.png").write_bytes(b64decode(figures[0][1]))
        picture = f"![{figures[0][0]}]({path.stem}.png)"
    return f":::{{container}} card\n{picture}\n\n[{title[1]}](notebooks/{path.name})\n\n{question[1]}\n:::\n"


def without_figure(notebook: Any) -> str:
    """Which drawing cell of an executed notebook shows nothing, in one phrase; "" if all show something.

    A cell that draws has an alt text, and a picture or a widget among its outputs. Where it saves the picture under an
    `if` or a `try`, the data may not allow one.
    """
    for number, cell in enumerate(notebook["cells"], 1):
        if cell["metadata"].get("mystnb", {}).get("image", {}).get("alt"):
            shown = [output["data"] for output in cell["outputs"] if "data" in output]
            seen = [d for d in shown if "image/png" in d or (WIDGET in d and not BAR.search(str(d.get("text/plain"))))]
            if not seen and must_draw("".join(cell["source"])):
                return f"cell {number} draws a figure, and its outputs hold none"
    return ""


def must_draw(source: str) -> bool:
    """Whether a cell saves its pictures whatever the data are: none under an `if` or a `try`."""
    branches = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.If | ast.Try))
    return not any("plots.save(" in ast.unparse(branch) for branch in branches)


def still(output: Any) -> Any | None:
    """An output as a page shows it: no progress bar, and a sentence for a widget, whose state died with the kernel."""
    data = output.get("data", {})
    if WIDGET in data:
        is_bar = BAR.search(data.get("text/plain", ""))
        return None if is_bar else nbformat.from_dict(output | {"data": {"text/html": ASIDE}})
    if output.get("name") == "stderr" and (BAR.search(output.text) or not output.text.strip()):
        return None  # a bar of a terminal, or what is left where one was wiped out
    return output

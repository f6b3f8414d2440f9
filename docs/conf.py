"""Settings of Sphinx. `reidkit docs` copies this folder, puts the executed lessons beside it and builds the pages.

Nothing of a page comes from a network: formulas are MathML, which browsers draw themselves, fonts are those of the
reader's machine, and the search is Sphinx's own, which also works on a page opened from the disk.
"""

from __future__ import annotations

import ast
import re
from contextlib import suppress
from inspect import getdoc, isclass, isfunction, ismodule
from itertools import groupby
from pathlib import Path
from pkgutil import walk_packages
from textwrap import indent
from typing import Any

import nbformat
from docutils import nodes
from latex2mathml.converter import convert
from sphinx import addnodes

import reidkit
from reidkit.errors import InputError

project = "reidkit"
extensions = [
    "myst_nb",  # Markdown and notebooks
    "sphinx.ext.autodoc",  # pages of modules from their docstrings
    "sphinx.ext.autosummary",  # tables of functions, each with its first sentence
    "sphinx.ext.napoleon",  # "Args:", "Returns:" and "Raises:" as Google writes them
]
highlight_language = "none"  # of blocks that do not say theirs: the formulas of docstrings
default_role = "py:obj"  # `evaluate` in a docstring is a link if there is such a thing, and code if not
exclude_patterns = ["cards.md"]  # part of index.md

# lessons: their outputs are kept as they are
nb_execution_mode = "off"
nb_merge_streams = True
nb_ipywidgets_js: dict[str, Any] = {}  # no widgets, so no scripts of theirs
nb_render_image_options = {"alt": "figure of this lesson"}  # of a figure whose cell has none of its own
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence"]
myst_heading_anchors = 3
suppress_warnings = ["ref.python"]  # a name in a docstring that several classes have

# reference
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True, "ignore-module-all": True}
napoleon_numpy_docstring = False
add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88

# appearance
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["reidkit.css"]
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#00588a", "color-brand-content": "#00588a"},
    "dark_css_variables": {"color-brand-primary": "#7cc0ee", "color-brand-content": "#7cc0ee"},
}
html_copy_source = False
html_use_index = html_domain_indices = False  # the pages of the modules and the search are enough
html_show_copyright = False
html_show_search_summary = False  # it would read other pages, which a browser forbids on the disk
html_math_renderer = "mathml"


def mathml(translator: Any, node: nodes.Element) -> None:
    """Write a formula as MathML."""
    block = isinstance(node, nodes.math_block)
    try:
        formula = convert(node.astext().strip(), display="block" if block else "inline")
    except Exception as error:
        raise InputError(f"the formula ${node.astext().strip()}$ cannot be shown in a browser: {error}.") from error
    translator.body.append(f'<div class="formula">{formula}</div>' if block else formula)
    raise nodes.SkipNode


def functions(app: Any, page: str, source: list[str]) -> None:
    """End a lesson with a list of the functions and classes of reidkit that its cells name, each a link to its page."""
    del app
    if not page.startswith("notebooks/"):
        return
    notebook = nbformat.reads(source[0], as_version=4)
    tree = ast.parse("\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code"))
    scope: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) and "reidkit" in ast.unparse(node):
            with suppress(ImportError):  # of a lesson that ran with another version
                exec(ast.unparse(node), scope)

    def meant(node: ast.AST) -> Any:
        """What a name or a dotted name of the lesson stands for."""
        if isinstance(node, ast.Attribute) and ismodule(module := meant(node.value)):
            return getattr(module, node.attr, None)
        return scope.get(node.id) if isinstance(node, ast.Name) else None

    things = [thing for thing in map(meant, ast.walk(tree)) if isfunction(thing) or isclass(thing)]
    sentences = {full_name(thing): (getdoc(thing) or "").partition("\n")[0] for thing in things}
    lines = [
        f"- {{py:obj}}`{name.removeprefix('reidkit.')} <{name}>`: {sentence}"
        for name, sentence in sorted(sentences.items())
        if name.startswith("reidkit.")
    ]
    if lines:
        notebook.cells.append(nbformat.v4.new_markdown_cell("\n".join(["## Functions of this lesson", "", *lines])))
    source[0] = nbformat.writes(notebook)


def full_name(thing: Any) -> str:
    """Where a function or class is defined: reidkit.ranking.evaluate for reidkit.evaluate."""
    return f"{thing.__module__}.{thing.__qualname__}"


def only_pages(app: Any, doctree: nodes.document) -> None:
    """Make words of links to what has no page: a lesson that did not run, a file of the repository."""
    del app
    for link in list(doctree.findall(addnodes.pending_xref)):
        if link["reftype"] == "myst" and link["refdomain"] is None and "." in link["reftarget"]:
            link.replace_self(link.children)


def reference(app: Any) -> None:
    """Write a page a module, and the page that lists them by package."""
    folder = Path(app.srcdir) / "reference"
    folder.mkdir()
    found = walk_packages(reidkit.__path__, "reidkit.") if app.config.reference else ()
    modules = sorted(module.name for module in found)
    parts = {"Names to call from your own code": [full_name(getattr(reidkit, name)) for name in reidkit.__all__]}
    for package, names in groupby(modules, lambda name: name.rpartition(".")[0]):
        parts.setdefault(f"Modules of {package}", []).extend(names)
    page = "The library\n===========\n\n"
    for title, names in parts.items():
        lines = "\n".join(f"   ~{name}" for name in names)
        page += f"{title}\n{'-' * len(title)}\n\n.. autosummary::\n   :nosignatures:\n\n{lines}\n\n"
    (folder / "index.rst").write_text(page + ".. toctree::\n   :hidden:\n\n" + indent("\n".join(modules), "   "))
    for name in modules:
        (folder / f"{name}.rst").write_text(f"{name}\n{'=' * len(name)}\n\n.. automodule:: {name}\n")


def as_typed(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Leave the formulas and columns of a docstring as they are typed, and take a | for nothing but itself."""
    del app, what, name, thing, options
    text = "\n".join(lines)
    sections = re.search(r"^(Args|Returns|Yields|Raises):$", text, re.M)
    end = sections.start() if sections else len(text)
    paragraphs, literal = [], False
    for paragraph in text[:end].split("\n\n"):
        before, literal = literal, paragraph.startswith("    ") or bool(re.search(r"\S {3,}\S", paragraph))
        if literal:
            block = paragraph if paragraph.startswith("    ") else indent(paragraph, "    ")
            paragraphs.append(block if before else f"::\n\n{block}")
        else:
            paragraphs.append(paragraph.replace("|", r"\|"))
    lines[:] = ("\n\n".join(paragraphs) + text[end:].replace("|", r"\|")).split("\n")


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.add_config_value("reference", True, "env")
    app.connect("source-read", functions)
    app.connect("doctree-read", only_pages)
    app.connect("builder-inited", reference)
    app.connect("autodoc-process-docstring", as_typed, priority=400)  # before "Args:" is read
    app.add_html_math_renderer("mathml", (mathml, None), (mathml, None))

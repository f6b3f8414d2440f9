"""Tables for people: Markdown and LaTeX beside the CSV, with a note of where the numbers come from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

TYPESET = str.maketrans(  # what LaTeX would take for a command, and signs that it only knows in formulas
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {character: f"${character}$" for character in "<>"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "−": "$-$", "±": r"$\pm$"}
)


def cell_text(value: Any, digits: int = 1) -> str:
    """A value as text: a missing one is empty, a real number has `digits` decimals, a minus sign is one."""
    if pd.isna(value):
        return ""
    return f"{value:.{digits}f}".replace("-", "−") if isinstance(value, float) else str(value)


def markdown(table: pd.DataFrame, digits: int = 1) -> str:
    """A Markdown table; numbers stand to the right, the index is left out."""
    rules = ["---:" if pd.api.types.is_numeric_dtype(table[name]) else "---" for name in table]
    lines = ["| " + " | ".join(map(str, table.columns)) + " |", "|" + "|".join(rules) + "|"]
    for row in table.itertuples(index=False, name=None):
        lines.append("| " + " | ".join(cell_text(value, digits).replace("|", "\\|") for value in row) + " |")
    return "\n".join(lines)


def latex(table: pd.DataFrame, digits: int = 1, *, caption: str = "") -> str:
    """A LaTeX table in the style of booktabs; the index is left out."""
    style = table.style.hide(axis="index").format(lambda value: typeset(cell_text(value, digits)))
    style = style.format_index(lambda name: typeset(str(name)), axis="columns")
    return style.to_latex(hrules=True, position_float="centering", caption=typeset(caption) or None).rstrip()


def typeset(text: str) -> str:
    """Text in which nothing is a command of LaTeX."""
    return text.translate(TYPESET)


def save_table(
    table: pd.DataFrame,
    name: str,
    folder: Path | str,
    about: Mapping[str, Any] | None = None,
    *,
    caption: str = "",
    digits: int = 1,
    shown: pd.DataFrame | None = None,
) -> Path:
    """Write NAME.csv, NAME.md and NAME.tex; the last two say in a comment where the numbers come from.

    Args:
        table: goes into the CSV as it is.
        name: file name, without ending.
        folder: where the files go; made if absent.
        about: where the numbers come from, for the comment.
        caption: stands above the Markdown and LaTeX tables.
        digits: decimals of real numbers in Markdown and LaTeX.
        shown: goes into Markdown and LaTeX instead, where a table to read is another than one to compute with.
    Returns:
        the path of the CSV.
    """
    path = Path(folder) / f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False)
    shown = table if shown is None else shown
    source = "; ".join(f"{key}: {value}" for key, value in (about or {}).items())
    parts = [f"{caption}\n" if caption else "", markdown(shown, digits), f"\n<!-- {source} -->" if source else ""]
    path.with_suffix(".md").write_text("\n".join(filter(None, parts)) + "\n", encoding="utf-8")
    parts = [f"% {source}" if source else "", latex(shown, digits, caption=caption)]
    path.with_suffix(".tex").write_text("\n".join(filter(None, parts)) + "\n", encoding="utf-8")
    return path

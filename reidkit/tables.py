"""Tables for people: Markdown and LaTeX beside the CSV, with a note of where the numbers come from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
LATEX |= {character: f"\\{character}" for character in "&%$#_{}"}


def cell(value: Any, digits: int = 1) -> str:
    """A value as text: a missing one is empty, a real number has `digits` decimals, a minus sign is one."""
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return ""
    return f"{value:.{digits}f}".replace("-", "−") if isinstance(value, float) else str(value)


def markdown(table: pd.DataFrame, digits: int = 1) -> str:
    """A Markdown table; numbers stand to the right, the index is left out."""
    right = [pd.api.types.is_numeric_dtype(table[name]) for name in table]
    lines = ["| " + " | ".join(map(str, table.columns)) + " |"]
    lines.append("|" + "|".join("---:" if numbers else "---" for numbers in right) + "|")
    for row in table.itertuples(index=False, name=None):
        lines.append("| " + " | ".join(cell(value, digits).replace("|", "\\|") for value in row) + " |")
    return "\n".join(lines)


def latex(table: pd.DataFrame, digits: int = 1, *, caption: str = "") -> str:
    """A LaTeX table in the style of booktabs; the index is left out."""
    right = "".join("r" if pd.api.types.is_numeric_dtype(table[name]) else "l" for name in table)

    def line(values: Any) -> str:
        return "  " + " & ".join(escaped(value) for value in values) + r" \\"

    rows = [line(cell(value, digits) for value in row) for row in table.itertuples(index=False, name=None)]
    head = [r"\begin{table}", r"  \centering", *([rf"  \caption{{{escaped(caption)}}}"] if caption else [])]
    body = [rf"  \begin{{tabular}}{{{right}}}", r"  \toprule", line(map(str, table.columns)), r"  \midrule"]
    return "\n".join([*head, *body, *rows, r"  \bottomrule", r"  \end{tabular}", r"\end{table}"])


def escaped(text: str) -> str:
    """Text in which nothing is a command of LaTeX."""
    plain = re.sub(r"[\\~^&%$#_{}]", lambda found: LATEX[found[0]], text)
    return plain.replace("−", "$-$").replace("±", r"$\pm$").replace(">", "$>$").replace("<", "$<$")


def save(
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
    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    read = table if shown is None else shown
    source = "; ".join(f"{key}: {value}" for key, value in (about or {}).items())
    table.to_csv(home / f"{name}.csv", index=False)
    text = [f"{caption}\n" if caption else "", markdown(read, digits), f"\n<!-- {source} -->" if source else ""]
    (home / f"{name}.md").write_text("\n".join(filter(None, text)) + "\n", encoding="utf-8")
    source = f"% {source}\n" if source else ""
    (home / f"{name}.tex").write_text(source + latex(read, digits, caption=caption) + "\n", encoding="utf-8")
    return home / f"{name}.csv"

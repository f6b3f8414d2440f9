"""Tables for people: what a reader of Markdown and of LaTeX gets."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from reidkit.course import tables

TABLE = pd.DataFrame({"row": ["a|b", "50 % of_x & y"], "mAP": [1.25, float("nan")], "n": [3, 10]})


def test_markdown() -> None:
    assert tables.markdown(TABLE).splitlines() == [
        "| row | mAP | n |",
        "|---|---:|---:|",
        "| a\\|b | 1.2 | 3 |",
        "| 50 % of_x & y |  | 10 |",
    ]
    assert "| 1.250 |" in tables.markdown(TABLE, digits=3)
    assert tables.markdown(TABLE.iloc[:0]).count("\n") == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [(-0.34, "−0.3"), (None, ""), (pd.NA, ""), (float("nan"), ""), (-2, "-2"), (True, "True"), ("a-b", "a-b")],
)
def test_a_cell(value: object, text: str) -> None:
    assert tables.cell_text(value) == text


def test_latex_has_no_stray_commands() -> None:
    text = tables.latex(TABLE, caption="100 % & more")
    assert r"50 \% of\_x \& y &  & 10 \\" in text and r"\caption{100 \% \& more}" in text
    assert r"\begin{tabular}{lrr}" in text and text.count(r"\begin") == text.count(r"\end") == 2
    assert tables.typeset("\\~^{}#$ a>b ± −1") == (
        r"\textbackslash{}\textasciitilde{}\textasciicircum{}\{\}\#\$ a$>$b $\pm$ $-$1"
    )


def test_what_is_saved_says_where_it_comes_from(tmp_path: Path) -> None:
    path = tables.save_table(TABLE, "scores", tmp_path / "new", {"data set": "viper", "seed": 3}, caption="Scores")
    assert sorted(p.name for p in path.parent.iterdir()) == ["scores.csv", "scores.md", "scores.tex"]
    pd.testing.assert_frame_equal(pd.read_csv(path), TABLE)
    for ending in ("md", "tex"):
        text = path.with_suffix(f".{ending}").read_text(encoding="utf-8")
        assert "data set: viper; seed: 3" in text and "Scores" in text
    bare = tables.save_table(TABLE, "bare", tmp_path)
    assert "<!--" not in bare.with_suffix(".md").read_text() and "caption" not in bare.with_suffix(".tex").read_text()

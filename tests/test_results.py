"""What is written about the measured tables is what they say."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

TOP = Path(__file__).parents[1]


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/results.py, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("results", TOP / "benchmarks" / "results.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "results", module)
    spec.loader.exec_module(module)
    return module


def test_results_and_readme_say_what_the_tables_say(results: ModuleType) -> None:
    for path, text in results.texts().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run python benchmarks/results.py"
    assert (TOP / "README.md").stat().st_size <= 10_240


def test_a_table_by_hand(results: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "FIGURES", tmp_path)
    rows = {
        "system": ["set1", "set1", "set2"],
        "fold": [0, 1, 0],
        "mAP_trapezoid": [10.0, 14.0, 30.0],
        "rank1": [1.0, 1, 2],
    }
    pd.DataFrame(rows).to_csv(tmp_path / "inherent_code-pku.csv", index=False)
    text = results.table("inherent_code-pku", ["mAP_trapezoid", "rank1"], {"set2": "second", "set1": "first"})
    assert text.splitlines() == [
        "| row | n | mAP (area) | rank-1 | *published mAP* | *published rank-1* |",
        "|---|---:|---|---|---|---|",
        "| second | 1 | 30.0 | 2.0 | *53.5* | *70.2* |",
        "| first | 2 | 12.0 ± 2.8 | 1.0 ± 0.0 | *51.5* | *67.3* |",
    ]
    with pytest.raises(SystemExit, match="has no row 'set9'"):
        results.table("inherent_code-pku", ["rank1"], {"set9": "ninth"})


def test_a_difference_by_hand(results: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "FIGURES", tmp_path)
    rows = [
        {"system": row, "dataset": "pku", "fold": fold, "seed": 0, "mAP": value + fold, "rank1": value}
        for row, value in (("set1", 30.0), ("set2", 20.0))
        for fold in range(3)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "inherent_code-pku.csv", index=False)
    found = results.difference("inherent_code", "set2", "set1", dataset="pku")
    assert found == "−10.0 points (−10.0 to −10.0, n = 3): reversed"
    with pytest.raises(SystemExit, match="on viper has 0 tables"):
        results.difference("inherent_code", "set2", "set1", dataset="viper")

"""Claims: taken apart, compared pair by pair, and answered as a direct computation answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from reidkit.course import claims
from reidkit.course.claims import Claimed, comparisons, interval
from reidkit.course.tables import markdown
from reidkit.errors import InputError
from reidkit.systems import SYSTEMS


def write(folder: Path, name: str, values: dict[str, list[float]], **columns: object) -> Path:
    """A measured table: row name to mAP of folds 0, 1, ...; rank-1 is 10 more."""
    folder.mkdir(exist_ok=True)
    rows = [
        {"system": row, "dataset": "viper", "fold": fold, "seed": 0, "mAP": value, "rank1": value + 10, **columns}
        for row, numbers in values.items()
        for fold, value in enumerate(numbers)
    ]
    pd.DataFrame(rows).to_csv(folder / f"{name}.csv", index=False)
    return folder / f"{name}.csv"


def test_a_claim_in_parts() -> None:
    assert comparisons("a > b > c in rank-1 and mAP") == [
        Claimed("a", "b", "rank-1"),
        Claimed("b", "c", "rank-1"),
        Claimed("a", "b", "mAP"),
        Claimed("b", "c", "mAP"),
    ]
    assert comparisons("a < b in mAP") == comparisons("b > a in mAP") == [Claimed("b", "a", "mAP")]
    assert comparisons("one in two > three in global macro F1") == [Claimed("one in two", "three", "global macro F1")]


def test_rows_that_share_a_place() -> None:
    found = comparisons("a | b > c | d > e in mAP")
    assert [(pair.better, pair.worse) for pair in found] == [
        ("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"), ("c", "e"), ("d", "e"),
    ]  # fmt: skip
    assert comparisons("e < c | d in mAP") == [Claimed("c", "e", "mAP"), Claimed("d", "e", "mAP")]


def test_re_ranked_scores_are_rows_of_their_own(tmp_path: Path) -> None:
    path = write(tmp_path, "ablations-aanet-synthetic", {"attention": [5.0, 6.0]})
    table = pd.read_csv(path).assign(reranked_mAP=[15.0, 18.0], reranked_rank1=[15.0, 15.0])
    table.to_csv(path, index=False)
    found = claims.assess(tmp_path, "aanet").query("better == 'attention re-ranked'").set_index("metric")
    assert set(claims.assess(tmp_path, "aanet")["system"]) == {"aanet"}
    assert found["n"].tolist() == [2, 2] and found.loc["mAP", "difference"] == 11
    assert found.loc["rank-1", "difference"] == -0.5  # rank-1 is 15 and 16 before


@pytest.mark.parametrize(
    "claim", ["a > b", "a > b |  in mAP", "a > b < c in mAP", "a in mAP", "a > b in recall", "a >  > b in mAP", ""]
)
def test_a_claim_of_another_form_is_refused(claim: str) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        comparisons(claim)


def test_every_claim_of_every_system_can_be_read() -> None:
    for system, module in SYSTEMS.items():
        for claim in module.CLAIMS:
            assert comparisons(claim)
            names = {name for pair in comparisons(claim) for name in (pair.better, pair.worse)}
            stages = {name for name in names if "stage" in name}  # rows of benchmarks/transfer.py
            rows = {name.removesuffix(" re-ranked") for name in names - stages}
            assert rows <= set(module.VARIANTS), f"{system} has no row {rows - set(module.VARIANTS)}"


def test_interval_against_scipy_and_closed_forms(rng: np.random.Generator) -> None:
    values = rng.normal(1, 2, 7)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    np.testing.assert_allclose(interval(values), [values.mean(), expected.low, expected.high])
    # two differences a and b: s = |a - b| / sqrt(2), so the half width is t(1) |a - b| / 2, and t(1) is a Cauchy
    mean, low, high = interval([1.0, 3.0])
    assert mean == 2 and np.isclose(high - mean, np.tan(np.pi * 0.475)) and np.isclose(mean - low, high - mean)
    assert interval([0.5, 0.5, 0.5]) == (0.5, 0.5, 0.5)  # no spread, no width
    assert interval([4.0]) == (4.0, -np.inf, np.inf) and np.isnan(interval([])[0])


@pytest.mark.parametrize(
    ("n", "low", "high", "expected"),
    [
        (3, 0.1, 2, "held"),
        (3, -2, -0.1, "reversed"),
        (3, -1, 1, "not seen"),
        (3, 0, 0, "not seen"),
        (1, 1, 2, "not measured"),
    ],
)
def test_verdict(n: int, low: float, high: float, expected: str) -> None:
    assert claims.verdict(n, low, high) == expected


def test_against_a_direct_computation(tmp_path: Path, rng: np.random.Generator) -> None:
    numbers = {row: list(50 + 5 * rng.normal(size=4)) for row in ("ours", "woAttr", "woVM", "woID", "woIM")}
    write(tmp_path, "ablations-part_multitask-viper", numbers)
    found = claims.assess(tmp_path).query("system == 'part_multitask' and dataset != ''")
    found = found.set_index(["better", "worse", "metric"])
    assert len(found) == 8 + 6 and (found["n"] == 4).all()
    for (better, worse, _), row in found.iterrows():
        pairs = [a - b for a, b in zip(numbers[better], numbers[worse], strict=True)]
        mean = sum(pairs) / 4
        spread = (sum((p - mean) ** 2 for p in pairs) / 3) ** 0.5
        half = 3.182446305284263 * spread / 2  # t(0.975, 3)
        np.testing.assert_allclose(row[["difference", "low", "high"]].astype(float), [mean, mean - half, mean + half])
        assert row["verdict"] == ("held" if mean > half else "reversed" if mean < -half else "not seen")


def test_pairs_share_split_and_settings(tmp_path: Path) -> None:
    path = write(tmp_path, "ablations-x-viper", {"ours": [5.0, 6.0, 7.0], "woAttr": [1.0, 2.0]}, settings="{}")
    row = claims.assess(tmp_path).query("better == 'ours' and metric == 'mAP'").iloc[0]
    assert (row["n"], row["difference"], row["low"], row["high"]) == (2, 4, 4, 4)  # the third fold has no partner
    table = pd.read_csv(path)
    table.loc[(table["system"] == "ours") & (table["fold"] == 1), "settings"] = "{'epochs': 3}"
    table.to_csv(path, index=False)
    row = claims.assess(tmp_path).query("better == 'ours' and metric == 'mAP'").iloc[0]
    assert (row["n"], row["difference"], row["verdict"]) == (1, 4, "not measured")


def test_a_missing_row_or_number_is_not_measured(tmp_path: Path) -> None:
    write(tmp_path, "ablations-x-viper", {"ours": [5.0, 6.0], "woVM": [1.0, np.nan], "woAttr": [4.0, 4.0]})
    found = claims.assess(tmp_path).query("metric == 'mAP'").set_index(["better", "worse"])
    assert found.loc[("woVM", "woID"), ["n", "verdict", "dataset"]].tolist() == [0, "not measured", ""]
    assert found.loc[("woAttr", "woVM"), ["n", "verdict", "dataset"]].tolist() == [1, "not measured", "viper"]
    assert found.loc[("ours", "woAttr"), "n"] == 2


def test_every_table_answers_for_itself(tmp_path: Path) -> None:
    write(tmp_path, "ablations-part_multitask-viper", {"ours": [9.0, 9.1], "woAttr": [1.0, 1.2]})
    write(tmp_path, "ablations-part_multitask-pku", {"ours": [1.0, 1.2], "woAttr": [9.0, 9.1]}, dataset="pku")
    table = claims.assess(tmp_path)
    found = table.query("better == 'ours' and worse == 'woAttr' and metric == 'mAP'").set_index("dataset")["verdict"]
    assert found.to_dict() == {"viper": "held", "pku": "reversed"}
    line = claims.summary(table).set_index("system").loc["part_multitask"].iloc[0]
    assert line["comparisons"] == 8
    assert line["measured"] == "pku, n = 2: reversed; viper, n = 2: held; 6 not measured"


def test_attributes_count_on_people_held_out(tmp_path: Path) -> None:
    rows = [
        {"task": task, "loss": loss, "on": on, "fold": 0, "seed": seed, "macro_f1": f1, "accuracy": 50.0 + seed}
        for loss, f1 in (("weighted", 60.0), ("cross_entropy", 50.0))
        for task, on in (("global", "validation"), ("global", "test"), ("hat", "validation"))
        for seed in (0, 1)
    ]
    for row in rows:
        row["macro_f1"] += {"validation": 0, "test": 7}[row["on"]] * (row["loss"] == "weighted")
    pd.DataFrame(rows).to_csv(tmp_path / "attributes-viper.csv", index=False)
    (row,) = claims.assess(tmp_path).query("better == 'weighted' and worse == 'cross_entropy'").itertuples()
    assert (row.dataset, row.n, row.difference, row.verdict) == ("viper", 2, 10, "held")


def test_what_is_measured_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "scores-viper", {"ours": [5.0]})
    pd.concat([pd.read_csv(path)] * 2).to_csv(path, index=False)
    with pytest.raises(InputError, match=r"scores-viper\.csv has 'ours' twice"):
        claims.assess(tmp_path)


def test_without_tables_nothing_is_measured(tmp_path: Path) -> None:
    table = claims.assess(tmp_path)
    assert set(table["verdict"]) == {"not measured"} and len(table) == sum(
        len(comparisons(claim)) for module in SYSTEMS.values() for claim in module.CLAIMS
    )
    text = markdown(claims.summary(table))
    assert text.count("\n") == 1 + sum(len(module.CLAIMS) for module in SYSTEMS.values())
    assert not (claims.details(table)["95 % interval"] != "").any()


def test_the_tables_kept_in_git_can_be_read() -> None:
    folder = Path(__file__).parents[1] / "figures"
    table = claims.assess(folder)
    assert {"synthetic", "viper", "pku", "towncentre"} <= set(table["dataset"])
    assert not table.duplicated(["system", "claim", "better", "worse", "metric", "source"]).any()

"""Measured tables: one reader for all of them, and what the papers publish beside the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd

from ..errors import InputError
from ..features import Features
from ..metrics import AP_FORMS, PLACES, scores_of
from ..ranking import Comparison
from ..recipes import Recipe, recipe
from ..runs import Run
from ..systems import SYSTEMS
from .papers import ATTRIBUTE_TABLES, COMPARISON_TABLES, Printed, published

RERANKED = "reranked_"  # how the columns of re-ranked scores begin
PAIRED = ["fold", "seed", "profile", "settings"]  # what two measurements must share to be compared
RANKING = ("rank1", "rank5", "rank10", "rank20", "mAP")
METRICS_OF_COLUMNS = {name: name for name in RANKING} | {"accuracy": "accuracy/", "macro_f1": "f1/"}  # before a task
STANDS_FOR = {"synthetic": "market1501"}  # whose published numbers stand beside those of people that do not exist
MANY_METRICS = 6  # a table with more has them below each other


# --- what was measured -------------------------------------------------------------------------------------------


def read_measured(path: Path, ap: str = "precision") -> pd.DataFrame:
    """Read a measured table: `numbers_of` its rows, and `source`, the file's name.

    Raises:
        InputError: a table that measures the same thing twice.
    """
    table = pd.read_csv(path)
    if "dataset" not in table:
        table["dataset"] = path.stem.partition("-")[2]
    numbers = numbers_of(table, ap)
    twice = numbers.loc[numbers.duplicated(["dataset", "row", *PAIRED, "metric"]), "row"]
    if len(twice):
        raise InputError(f"{path} has {twice.iloc[0]!r} twice for the same split, seed and settings: keep one of them.")
    return numbers.assign(source=path.name)


def numbers_of(table: pd.DataFrame, ap: str = "precision") -> pd.DataFrame:
    """The numbers of a measured table, one a row; re-ranked scores are rows of their own, "... re-ranked".

    Attributes count on the people held out from training, as in paper 001.

    Args:
        table: a row a training, or a task of one, with its name in `system` or `loss`.
        ap: which form of mAP; "trapezoid", as the papers have it, only where the table holds it.
    Returns:
        row, dataset, `PAIRED` ("" where the table has no such column), metric as `published` calls it, value (percent).
    """
    if "loss" in table:
        table = table[table["on"] == "validation"].rename(columns={"loss": "system"})
    absent = {name: "" for name in ("dataset", *PAIRED) if name not in table}
    table = table.assign(**absent, task=table.get("task", "global"))
    keys = ["row", "dataset", *PAIRED, "task"]
    parts = []
    for start, ending in (("", ""), (RERANKED, " re-ranked")):
        area = f"{start}mAP_trapezoid"
        if ap == "trapezoid" and area in table:
            table = table.assign(**{f"{start}mAP": table[area]})
        columns = {start + name: metric for name, metric in METRICS_OF_COLUMNS.items() if start + name in table}
        part = table.assign(row=table["system"] + ending)[[*keys, *columns]].rename(columns=columns)
        parts.append(part.melt(keys, list(columns.values()), "metric"))
    numbers = pd.concat(parts, ignore_index=True)
    of_tasks = numbers["metric"].str.endswith("/")
    numbers.loc[of_tasks, "metric"] += numbers.loc[of_tasks, "task"]
    return numbers.drop(columns="task")


# --- beside what is published --------------------------------------------------------------------------------


def with_published(numbers: pd.DataFrame, rows: dict[str, str], paper: pd.DataFrame) -> pd.DataFrame:
    """Numbers with a column of the percent that a paper publishes of the same row and metric, NaN where it has none.

    Args:
        numbers: as `numbers_of` gives them.
        rows: the paper's row by ours.
        paper: rows of `published`.
    """
    printed = paper.drop_duplicates(["row", "metric"])[["row", "metric", "percent"]]
    printed = printed.set_axis(["printed", "metric", "published"], axis="columns")
    names = [rows.get(row) for row in numbers["row"]]
    return numbers.assign(printed=names).merge(printed, how="left", on=["printed", "metric"])


def over_trainings(numbers: pd.DataFrame) -> pd.DataFrame:
    """Numbers `with_published` over splits and seeds: row, metric, n, mean, deviation (sample), published."""
    by_row = numbers.groupby(["row", "metric"], sort=False)
    return by_row.agg(
        n=("value", "size"), mean=("value", "mean"), deviation=("value", "std"), published=("published", "first")
    ).reset_index()


def beside_published(numbers: pd.DataFrame, printed: Printed) -> pd.DataFrame:
    """The rows of a paper's table as they were measured and as they are published, and what else the table prints.

    Args:
        numbers: as `numbers_of` gives them.
        printed: the table.
    Returns:
        row (as the paper calls it), metric, n, mean, deviation, published; n is 0 and mean missing for rows that only
        the paper has. Empty where nothing was measured.
    """
    of_table = numbers["metric"].str.startswith(printed.metrics) if printed.metrics else numbers["metric"].isin(RANKING)
    numbers = numbers[numbers["row"].isin(list(printed.rows)) & of_table]
    if numbers.empty:
        return pd.DataFrame()
    paper = published(printed.system, printed.table)
    measured = over_trainings(with_published(numbers, printed.rows, paper)).replace({"row": printed.rows})
    peers = paper[~paper["row"].isin(measured["row"]) & paper["metric"].isin(measured["metric"])]
    table = pd.concat([measured, only_published(peers)], ignore_index=True)
    order = {row: place for place, row in enumerate(paper["row"].drop_duplicates())}
    return table.sort_values("row", key=lambda rows: rows.map(order), kind="stable", ignore_index=True)


def only_published(paper: pd.DataFrame) -> pd.DataFrame:
    """Rows of `published` in the columns of `over_trainings`, of which nothing was measured."""
    return paper[["row", "metric", "percent"]].rename(columns={"percent": "published"}).assign(n=0)


def runs_beside_published(runs: Sequence[Run], folder: Path) -> pd.DataFrame:
    """Scores of runs on one data set beside those of the papers' comparisons, one number a row.

    mAP is the area under the precision-recall curve, as the papers have it.

    Args:
        runs: finished runs on one data set.
        folder: holds scores.csv of every run in a folder of its name.
    Returns:
        row, metric, n, mean, deviation, published; n is 0 and mean missing for rows that only a paper has.
    """
    measured, peers = [], []
    for run, name in zip(runs, names_of([run.recipe for run in runs]), strict=True):
        plan, variant = run.recipe, variant_of(run.recipe)
        key = (plan.system, STANDS_FOR.get(plan.dataset, plan.dataset))
        table, rows = COMPARISON_TABLES.get(key, ("", {}))
        paper = published(plan.system, table) if table else published().iloc[:0]
        scores = pd.read_csv(folder / run.folder.name / "scores.csv").assign(system=variant)
        numbers = with_published(numbers_of(scores, "trapezoid"), rows, paper)
        names = {variant: name, f"{variant} re-ranked": f"{name}, re-ranked"}
        measured.append(numbers.assign(row=numbers["row"].map(names)))
        others = paper[~paper["row"].isin(rows.values()) & paper["metric"].isin(RANKING)]
        peers.append(only_published(others.assign(row=others["row"] + f" ({plan.system}, {table})")))
    below = pd.concat(peers).drop_duplicates(["row", "metric"])
    return pd.concat([over_trainings(pd.concat(measured)), below], ignore_index=True)


def names_of(plans: Sequence[Recipe]) -> list[str]:
    """What each recipe is, and all settings but seed and fold in which it differs from others that are called so.

    Recipes of one name are trainings of one row: their scores may be averaged.
    """
    short, settings = [], []
    for plan in plans:
        trained = "" if plan.system == "histogram" else f"{plan.backbone}, epochs {plan.epochs}"
        short.append(", ".join(filter(None, (plan.system, variant_of(plan), trained))))
        start = "a run" if Path(plan.pretrained).is_absolute() else plan.pretrained  # of every seed another folder
        settings.append({**asdict(replace(plan, seed=0, fold=0, pretrained=start, options={})), **plan.options})
    names = []
    for name, own in zip(short, settings, strict=True):
        called = [other for word, other in zip(short, settings, strict=True) if word == name]
        unlike = [f"{key} {value}" for key, value in own.items() if any(other.get(key) != value for other in called)]
        names.append(", ".join([name, *unlike]))
    return names


def variant_of(plan: Recipe) -> str:
    """Which of its system's VARIANTS a recipe is, whatever its profile changes; "" where it is none.

    Of several that fit, the one that starts where the recipe does.
    """
    system = SYSTEMS[plan.system]

    def settings(of: Recipe) -> dict[str, object]:
        return asdict(of) | asdict(system.Options(**of.options))

    compared = {"backbone", *(name for changes in system.VARIANTS.values() for name in changes.get("all", {}))}
    mine = settings(plan)
    others = {variant: settings(recipe(plan.system, plan.profile, variant)) for variant in system.VARIANTS}
    fit = [variant for variant, other in others.items() if all(mine[name] == other[name] for name in compared)]
    return next((variant for variant in fit if others[variant]["pretrained"] == plan.pretrained), (fit or [""])[0])


def attributes_beside_published(system: str, dataset: str, scores: pd.DataFrame) -> pd.DataFrame:
    """A table of attributes with the accuracy that the system's paper prints for each task of this data set.

    Args:
        system: by name.
        dataset: by name; the synthetic people stand beside Market-1501, whose attributes they have.
        scores: indexed by task.
    Returns:
        the tasks as a column, and a column named after the published row and data set where there is one.
    """
    scores = scores.reset_index()
    dataset = STANDS_FOR.get(dataset, dataset)
    if (system, dataset) not in ATTRIBUTE_TABLES:
        return scores
    table, row = ATTRIBUTE_TABLES[system, dataset]
    paper = published(system, table)
    paper = paper[(paper["row"] == row) & paper["metric"].str.startswith("accuracy/")]
    percent = paper.set_index(paper["metric"].str.removeprefix("accuracy/"))["percent"]
    percent = percent.rename({"mean": "global", "average": "global"})  # the name of the mean of all tasks
    return scores.assign(**{f"{row} on {dataset}": scores["task"].map(percent)})


def down_and_across(numbers: pd.DataFrame) -> tuple[str, str]:
    """What stands below each other in a table of numbers, and what has columns: rows and metrics, or many metrics."""
    return ("metric", "row") if numbers["metric"].nunique() > MANY_METRICS else ("row", "metric")


def for_reading(numbers: pd.DataFrame) -> pd.DataFrame:
    """Measured numbers beside published ones as text: for every column of `down_and_across` one of each kind."""
    down, across = down_and_across(numbers)
    spread = numbers["deviation"].map(" ± {:.1f}".format).where(numbers["deviation"].notna(), "")
    texts = {
        "measured": numbers["mean"].map("{:.1f}".format).where(numbers["mean"].notna(), "") + spread,
        "published": numbers["published"].map("{:g}".format).where(numbers["published"].notna(), ""),
    }
    cells = numbers.assign(**texts).pivot_table(list(texts), down, across, aggfunc="last", fill_value="", sort=False)
    columns = {}
    if down == "row":
        columns["n"] = numbers.groupby("row")["n"].max().replace(0, "").astype(str)
    for name in numbers[across].drop_duplicates():
        columns |= {name: cells["measured", name], f"{name} (paper)": cells["published", name]}
    table = pd.DataFrame(columns, cells.index).loc[:, lambda table: (table != "").any()]
    if down == "metric":
        table = table.rename(lambda metric: metric.rpartition("/")[2]).rename_axis("task")
    return table.reset_index()


def measured_row(query: Features, gallery: Features, metric: str = "euclidean") -> dict[str, float]:
    """Score a retrieval as every measured table holds it: percent, in both forms of AP, as it is and re-ranked.

    Returns:
        mAP (form "precision"), mAP_trapezoid, rank1, rank5, rank10, rank20; and the same after RERANKED.
    """
    comparison = Comparison.of(query, gallery, metric)
    row: dict[str, float] = {}
    for start, measured in (("", comparison), (RERANKED, comparison.rerank(progress=False))):
        places, n = measured.places(), len(measured.labels.gallery_pids)
        one, other = (scores_of(places, n, measured.metric, measured.rule, ap, max(PLACES)) for ap in AP_FORMS)
        row |= {f"{start}mAP": one.mAP, f"{start}mAP_trapezoid": other.mAP}
        row |= {f"{start}rank{k}": one.at(k) for k in PLACES}
    return row

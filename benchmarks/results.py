"""Writes figures/RESULTS.md, and the five lines of results in README.md, from the measured tables in figures/*.csv.

    python benchmarks/results.py
    python benchmarks/results.py --check     writes nothing; says what is out of date and ends with 1

The text is benchmarks/RESULTS.md.j2 and benchmarks/README.md.j2, in which the numbers of a table are a call of a
function below. A test renders both.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import jinja2
import numpy as np
import pandas as pd
import typer

from reidkit.course import claims
from reidkit.course.papers import PRINTED, Printed, published
from reidkit.course.tables import markdown
from reidkit.recipes import recipe
from reidkit.systems.aanet import AANet

HOME = Path(__file__).parents[1]
FIGURES = HOME / "figures"
BLOCK = re.compile(r"(?<=<!-- results -->\n).*?(?=<!-- end of results -->)", re.S)
NAMES = {"rank1": "rank-1", "rank5": "rank-5", "rank10": "rank-10", "rank1_far": "far", "macro_f1": "macro F1"}
NAMES |= {"mAP_trapezoid": "mAP (area)", "reranked_mAP": "re-ranked mAP", "reranked_rank1": "re-ranked rank-1"}
NAMES |= {
    f"mAP_{kind}_{form}": f"mAP {kind}, {form}" for kind in ("threshold", "filter") for form in ("strict", "returned")
}
NAMES |= {"mean_accuracy": "mean accuracy", "rare_recall": "recall of rare", "rare_f1": "F1 of rare"}


def rows_of(name: str, where: str = "") -> pd.DataFrame:
    """The rows of a measured table that answer a query of pandas, their name in the column `system`."""
    table = pd.read_csv(FIGURES / f"{name}.csv")
    if "loss" in table:  # of attributes: the people held out, over all tasks
        table = table[(table["on"] == "validation") & (table["task"] == "global")].rename(columns={"loss": "system"})
    return table.query(where) if where else table


def spread(values: pd.Series) -> str:
    """Mean and sample deviation of what is there."""
    if values.isna().all():
        return ""
    return f"{values.mean():.1f}" + (f" ± {values.std():.1f}" if len(values) > 1 else "")


def printed_number(papers: list[Printed], row: str, metric: str) -> str:
    """What a paper prints of a measured row, in italics; "" where it prints nothing."""
    for printed in papers:
        numbers = published(printed.system, printed.table)
        found = numbers[(numbers["row"] == printed.rows.get(row)) & (numbers["metric"] == metric)]["percent"]
        if len(found):
            return f"*{found.iloc[0]:g}*"
    return ""


def table(
    name: str,
    columns: list[str],
    rows: dict[str, str] | None = None,
    where: str = "",
    by: str = "system",
    beside: bool = True,
) -> str:
    """A measured table as Markdown: mean ± deviation over n, beside what the paper prints of the same row, in italics.

    Args:
        name: of the file in figures/, without its ending; several with + between are put one below the other.
        columns: of the file.
        rows: what to print instead of a row's name; these rows, in this order. None: all.
        where: a query that chooses rows of the file.
        by: the column that names the rows.
        beside: whether what the paper prints stands beside it.
    """
    numbers = pd.concat([rows_of(part, where) for part in name.split("+")])
    names = rows or {row: str(row) for row in numbers[by].drop_duplicates()}
    papers = [printed for printed in PRINTED if beside and Path(name + ".csv").match(printed.source + ".csv")]
    metrics = {"accuracy": "accuracy/global", "macro_f1": "f1/global", "mAP_trapezoid": "mAP"}
    lines = []
    for row, label in names.items():
        own = numbers[numbers[by] == row]
        if own.empty:
            raise SystemExit(f"{name}.csv has no row {row!r}")
        line = {by if by != "system" else "row": label, "n": len(own)}
        line |= {NAMES.get(column, column): spread(own[column]) for column in columns if column in own}
        for column in columns:
            number = printed_number(papers, row, metrics.get(column, column))
            line |= {f"*published {NAMES.get(column, column).split(' (')[0]}*": number} if number else {}
        lines.append(line)
    shown = pd.DataFrame(lines)
    first = [column for column in shown if not column.startswith("*")]
    return markdown(shown[first + [column for column in shown if column.startswith("*")]].fillna(""))


def mean(name: str, column: str, where: str = "") -> float:
    """The mean of a column over rows of a table."""
    return float(rows_of(name, where)[column].mean())


def difference(
    system: str, better: str, worse: str, metric: str = "mAP", dataset: str = "synthetic", source: str = ""
) -> str:
    """What became of one comparison: "5.5 points (−2.5 to 13.5, n = 3): not seen".

    Args:
        system: whose claim it is.
        better: the row that should be ahead.
        worse: the other.
        metric: as the claim calls it.
        dataset: where it was measured.
        source: the measured table, where several have both rows.
    """
    found = claims.assess(FIGURES, system).query(
        "better == @better and worse == @worse and metric == @metric and dataset == @dataset"
    )
    found = found[found["source"].str.startswith(source)].drop_duplicates("source")
    if len(found) != 1:
        raise SystemExit(f"{system}: {better} > {worse} in {metric} on {dataset} has {len(found)} tables: name one")
    row = found.iloc[0]
    text = f"{row['difference']:.1f} points ({row['low']:.1f} to {row['high']:.1f}, n = {row['n']}): {row['verdict']}"
    return text.replace("-", "−")


def pivot(name: str, rows: str, columns: str, value: str, where: str = "") -> str:
    """Means of a value as Markdown: one column's values down, another's across."""
    numbers = rows_of(name, where)
    wide = numbers.pivot_table(value, rows, columns, aggfunc="mean", sort=False)
    order = numbers[columns].drop_duplicates()
    return markdown(wide[[column for column in order if column in wide]].reset_index())


def maps() -> str:
    """The open points of paper 002's map: scores of the runs and where their maps point, a row an answer."""
    names = {"map-raw": "raw rows, everywhere, with gradient", "map-contrast": "contrast rows"}
    names |= {"map-masked": "only where it is read", "map-detach": "without gradient", "map-all": "all three"}
    scores, look = rows_of("ablations-maps-synthetic"), rows_of("attention-maps", "method in ['cam', 'merged']")
    lines = []
    for row, label in names.items():
        own = scores[scores["system"] == row]
        seen = look[look["row"] == ("attention" if row == DEFAULT_MAP else row)]
        each = seen[seen["task"] != "merged"].groupby("seed")["pointing"].mean()
        person = seen[seen["task"] == "merged"]["pointing"]
        line = {"map": label, "n": len(own), "mAP": spread(own["mAP"]), "rank-1": spread(own["rank1"])}
        lines.append(
            line | {"macro F1": spread(own["macro_f1"]), "pointing": spread(each), "on the person": spread(person)}
        )
    return markdown(pd.DataFrame(lines))


DEFAULT_MAP = next(  # the row that is the recipe itself, under whose name its runs go
    name
    for name in AANet.VARIANTS
    if name.startswith("map-") and recipe("aanet", variant=name) == recipe("aanet", variant="attention")
)


def reduction() -> str:
    """Paper 004's losses as sums and as means, with weight decay and without: mAP, a row a set of losses."""
    table = rows_of("inherent_code-reduction")
    cells = table.groupby(["weight_decay", "reduction"])
    columns = {f"decay {decay:g}, {how}": part.groupby("system")["mAP"].apply(spread) for (decay, how), part in cells}
    return markdown(pd.DataFrame(columns).rename_axis("row").reset_index().fillna(""))


def learnable() -> str:
    """What the bundled start reads from the pixels of the synthetic people, task by task."""
    table = pd.read_csv(FIGURES / "learnable.csv").iloc[:-3]
    table["start"] = [f"{row.start:.1f} ± {row.deviation:.1f}" for row in table.itertuples()]
    table["part map"] = [f"{value:.1f}" if value == value else "" for value in table["part map"]]
    table = table.astype({"images": int, "people": int})
    return markdown(table[["task", "images", "people", "commonest", "part map", "start"]])


def evidence() -> str:
    """The bundled start's answers and maps: of how many attributes the intervals lie apart, set by set."""
    return markdown(pd.read_csv(FIGURES / "attention-verdicts.csv"))


# --- numbers of the sentences that say what made a claim come out as it did -------------------------------------------


def sharing() -> dict[str, float]:
    """Paper 000: how far the weight of the attributes moves the column to read, beside the splits; what is learnt."""
    table = rows_of("sharenet-alpha")
    far = table.groupby("alpha")["rank1_far"]
    ahead = (table["accuracy"] - table["commonest"]).mean()
    return {"moved": far.mean().max() - far.mean().min(), "splits": far.std().mean(), "ahead": ahead}


def attention() -> dict[str, float]:
    """Paper 002: mAP and pointing by what the text leaves open about the map, "mAP raw", "pointing raw" and so on."""
    scores = rows_of("ablations-maps-synthetic").groupby("system")["mAP"].mean().add_prefix("mAP ")
    look = rows_of("attention-maps", "method == 'cam'").replace({"row": {"attention": DEFAULT_MAP}})
    point = look.groupby("row")["pointing"].mean().add_prefix("pointing ")
    return {name.replace("map-", ""): value for name, value in pd.concat([scores, point]).items()}


def identity() -> dict[str, float]:
    """Paper 003: what identity costs by what is ranked, and the share of its features in the distance."""
    table = rows_of("descriptors-part_multitask")
    by_row = table.pivot_table("mAP", "descriptor", "system")
    cost = (by_row["woID"] - by_row["ours"]).to_dict()
    return cost | {"share": table.loc[table["system"] == "ours", "share_im"].mean()}


def codes() -> dict[str, float]:
    """Paper 004: what each loss adds as a sum and as a mean, over decays and splits, and what decay adds."""
    table = rows_of("inherent_code-reduction")
    by_cell = table.pivot_table("mAP", ["reduction", "weight_decay"], "system")
    plain = by_cell.loc["sum", "set1"]  # without these losses there is nothing to sum
    found = {f"compact {how}": (by_cell.loc[how, "set2"] - plain).mean() for how in ("sum", "mean")}
    found |= {f"scatter {how}": (by_cell.loc[how, "set3"] - by_cell.loc[how, "set2"]).mean() for how in ("sum", "mean")}
    return found | {"decay": float(np.nanmean(by_cell.xs(5e-4, level=1) - by_cell.xs(0.0, level=1)))}


def summed() -> dict[str, float]:
    """Paper 003 with its triplets summed: mAP by row; empty where that was not measured."""
    if not (FIGURES / "ablations-sums-synthetic.csv").exists():
        return {}
    return dict(rows_of("ablations-sums-synthetic").groupby("system")["mAP"].mean())


def points(value: float) -> str:
    """A number of points with its sign."""
    return f"{value:+.1f}".replace("-", "−")


def verdicts() -> str:
    """Every comparison of every claim, and what became of it."""
    return markdown(claims.details(claims.assess(FIGURES)))


def render(name: str) -> str:
    """One of the templates beside this file, with the numbers as they are now."""
    engine = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    engine.filters |= {"points": points, "plain": lambda value: f"{value:.1f}"}
    start = pd.read_csv(FIGURES / "learnable.csv", index_col="task")
    given: list[Callable[..., Any]] = [rows_of, table, mean, difference, pivot, maps, reduction, learnable, verdicts]
    given += [evidence, sharing, attention, identity, codes, summed]
    return engine.get_template(name).render({call.__name__: call for call in given}, start=start)


def texts() -> dict[Path, str]:
    """The files as they should be."""
    readme = (HOME / "README.md").read_text(encoding="utf-8")
    block = render("README.md.j2")
    return {FIGURES / "RESULTS.md": render("RESULTS.md.j2"), HOME / "README.md": BLOCK.sub(lambda _: block, readme)}


def main(check: Annotated[bool, typer.Option("--check")] = False) -> None:
    for path, text in texts().items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if check:
            raise SystemExit(f"{path.name} is not what the tables say: run python benchmarks/results.py")
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path}")


if __name__ == "__main__":
    typer.run(main)

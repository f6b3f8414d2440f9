"""The command line. Modules that need torch are imported inside commands, so that `doctor` runs without it.

Exit status: 0 done, 1 the input is wrong (one sentence, no traceback), 2 usage. With --json one JSON object stands
on stdout and nothing else; progress goes to stderr.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from . import doctor as diagnosis
from .checks import find_problems
from .errors import InputError, choose
from .images import CARDS, absolute, default_root, is_person, read_images

app = typer.Typer(
    name="reidkit",
    help="A course one can run on person re-identification and person attributes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data = typer.Typer(help="Data sets: what is known, what is here, what is in them.", no_args_is_help=True)
app.add_typer(data, name="data")
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

Root = Annotated[Path | None, typer.Option(help="The data set's folder (for table: the file).")]
Fold = Annotated[int, typer.Option(help="Which random split, for viper, pku and towncentre.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")]
PROFILE_HELP = "smoke (seconds), quick (a laptop), paper (a GPU)."
Profile = Annotated[str, typer.Option(help=PROFILE_HELP)]
CourseProfile = Annotated[str, typer.Option(envvar="REIDKIT_PROFILE", help=PROFILE_HELP)]
CourseDataset = Annotated[str, typer.Option(envvar="REIDKIT_DATASET", help="A name of `reidkit data list`.")]


def show_json(value: dict[str, Any]) -> None:
    """One JSON object on stdout."""
    print(json.dumps(value, indent=2))


def watched() -> bool:
    """Whether a person sees the progress; in a log or a pipe bars are noise."""
    return sys.stderr.isatty()


def tell(sentence: str) -> None:
    """A sentence for the person, on stderr."""
    err.print(sentence, markup=False)


@app.command()
def doctor(as_json: Json = False) -> None:
    """What is installed, which device is used, what is wrong and how to mend it."""
    findings = diagnosis.examine()
    if as_json:
        show_json({"findings": [finding.__dict__ for finding in findings]})
    else:
        table = Table(box=None, show_header=False)
        for finding in findings:
            style = {"ok": "green", "warning": "yellow", "error": "red"}[finding.level]
            table.add_row(f"[{style}]{finding.level}[/]", finding.what, finding.sentence)
        out.print(table)
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(1)


@data.command("list")
def data_list(as_json: Json = False) -> None:
    """Every data set known: its card, where it comes from, whether it is here."""
    from .course import here

    columns = ("name", "title", "people", "cameras", "image_size", "licence", "source", "citation", "layout")
    rows = [
        {column: getattr(card, column) for column in columns}
        | {"here": here(card.name), "folder": str(default_root(card.name))}
        for card in CARDS.values()
    ]
    if as_json:
        show_json({"datasets": rows})
        return
    for row in rows:
        sizes = ", ".join(f"{row[key]} {key}" for key in ("people", "cameras") if row[key] is not None)
        out.print(f"[bold]{row['name']}[/] {'(here)' if row['here'] else '(not here)'}")
        out.print(f"    {row['title']}{': ' if sizes else ''}{sizes}", markup=False)
        for key in ("source", "citation", "licence", "layout", "folder"):
            out.print(f"    {key}: {row[key]}", markup=False)


@data.command("check")
def data_check(
    name: Annotated[str, typer.Argument(help="A name of `reidkit data list`.")],
    root: Root = None,
    fold: Fold = 0,
    attributes: Annotated[Path | None, typer.Option(help="The annotation file, where it lies elsewhere.")] = None,
    as_json: Json = False,
) -> None:
    """Counts, names, attributes, images that do not decode, queries without a valid match."""
    from .attributes import read_attributes
    from .checks import Problem, check_join

    images = read_images(name, root, fold=fold)
    problems = find_problems(images, progress=watched())
    try:
        labels = read_attributes(name, images.attrs["root"], attributes, fold=fold) if name != "pku" else None
        problems += check_join(images, labels) if labels else []
    except InputError as error:
        problems.append(Problem("error" if attributes else "warning", str(error)))
    counts = {
        split: {"images": len(part), "people": int(part.loc[is_person(images), "pid"].nunique())}
        for split, part in images.groupby("split", sort=False)
    }
    wrong = any(problem.level == "error" for problem in problems)
    if as_json:
        found = [problem.__dict__ for problem in problems]
        show_json({"dataset": name, **images.attrs, "counts": counts, "problems": found, "ok": not wrong})
    else:
        out.print(f"{name} in {images.attrs['root']}", markup=False)
        for split, count in counts.items():
            out.print(f"  {split}: {count['images']:,} images of {count['people']:,} people", markup=False)
        for problem in problems:
            out.print(f"{problem.level}: {problem.sentence}", markup=False)
        out.print("not fit for training or evaluation" if wrong else "all is well" if not problems else "usable")
    if wrong:
        raise typer.Exit(1)


@data.command("synthetic")
def data_synthetic(
    size: Annotated[str, typer.Option(help="smoke, quick or full.")] = "quick",
    folder: Annotated[Path | None, typer.Option("--out", help="By default datasets/synthetic-SIZE.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed, other people.")] = 0,
    height: Annotated[int, typer.Option(help="Pixels.")] = 128,
    width: Annotated[int, typer.Option(help="Pixels.")] = 64,
) -> None:
    """Write the synthetic benchmark: people that do not exist, in the Market-1501 layout."""
    from . import synthetic
    from .course import home

    choose(size, synthetic.SIZES, "size")
    started = time.perf_counter()
    where = synthetic.write(
        folder or home() / "datasets" / f"synthetic-{size}", size=size, seed=seed, height=height, width=width
    )
    tell(f"wrote {where} in {time.perf_counter() - started:.0f} s")
    print(where)


@data.command("stats")
def data_stats(
    name: Annotated[str, typer.Argument(help="A name of `reidkit data list`.")],
    root: Root = None,
    per: Annotated[str, typer.Option(help="image or identity.")] = "identity",
    split: Annotated[str, typer.Option(help="train or test; per image also val, query, gallery.")] = "train",
    attributes: Annotated[Path | None, typer.Option(help="The annotation file, where it lies elsewhere.")] = None,
    fold: Fold = 0,
    as_json: Json = False,
) -> None:
    """The imbalance of every attribute, per identity or per image. Images need not be there, lists are enough."""
    from .attributes import read_attributes
    from .statistics import imbalance

    if per not in ("image", "identity"):
        raise InputError(f"--per is {per!r}: count by image or by identity.")
    labels = read_attributes(name, root, attributes, fold=fold)
    images = read_images(name, root, fold=fold) if per == "image" else None
    table = imbalance(labels, images, split=split)
    if as_json:
        tasks: dict[str, dict[str, dict[str, float]]] = {}
        for row in table.itertuples():
            counted = {"count": int(row.count), "share": round(row.share, 2)}
            tasks.setdefault(str(row.task), {})[str(row[2])] = counted
        total = int(table.groupby("task", sort=False)["count"].sum().max())
        show_json({"dataset": name, "per": per, "split": split, "counted": total, "tasks": tasks})
        return
    shown = Table(box=None, title=f"{name}, {split}, per {per}", title_justify="left")
    for column in ("task", "class", "count", "share, %"):
        shown.add_column(column, justify="right" if column in ("count", "share, %") else "left")
    before = None
    for row in table.itertuples():
        task = str(row.task) if row.task != before else ""
        shown.add_row(task, str(row[2]), f"{row.count:,}", f"{row.share:.2f}", style="yellow" if row.share < 5 else "")
        before = row.task
    out.print(shown)


@app.command()
def train(
    system: Annotated[
        str, typer.Argument(help="baseline, histogram, two_stage, inherent_code, sharenet, part_multitask or aanet.")
    ],
    dataset: Annotated[str, typer.Option(help="A name of `reidkit data list`.")] = "synthetic",
    root: Root = None,
    profile: Profile = "quick",
    fold: Fold = 0,
    seed: Annotated[int, typer.Option(help="Of weights, batches and augmentation.")] = 0,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE: any field of the recipe, any option of the system, or variant=..."),
    ] = None,
    folder: Annotated[Path | None, typer.Option("--out", help="The run's folder; by default below runs/.")] = None,
    as_json: Json = False,
) -> None:
    """Train a system, describe query and gallery, score them. The same command again goes on where it was."""
    from . import course
    from .recipes import recipe
    from .runs import load_or_fit

    changes = dict(setting(text) for text in settings or [])
    plan = recipe(system, profile, dataset=dataset, fold=fold, seed=seed, **changes)
    images = course.prepare(dataset, profile, root, fold=fold, decode=True, progress=watched())
    sets, runs = course.sets(plan, images, progress=watched()), course.runs_folder()
    run = load_or_fit(plan, *sets, runs=runs, folder=folder, progress=watched(), say=tell)
    report(run, images, plan.metric, "precision", as_json, keep=True)


def setting(text: str, option: str = "--set") -> tuple[str, str]:
    """NAME=VALUE as a pair."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        example = "epochs=5" if option == "--set" else "gender=female"
        raise InputError(f"{option} {text!r} is no NAME=VALUE, such as {example}.")
    return name.strip(), value.strip()


def report(
    run: Any, images: Any, metric: str, ap: str, as_json: bool, keep: bool = False, reranked: bool = False
) -> None:
    """Score a run and print the scores; `keep` writes them into the run as metrics.json."""
    from .course import attribute_table
    from .features import features_of
    from .files import write_whole
    from .ranking import Comparison

    query, gallery = (features_of(run, images, split, progress=watched()) for split in ("query", "gallery"))
    comparison = Comparison.of(query, gallery, metric)
    scores = (comparison.rerank(progress=watched()) if reranked else comparison).score(ap)
    about = {name: getattr(run.recipe, name) for name in ("system", "dataset", "fold", "seed", "profile")}
    result: dict[str, Any] = {"run": str(run.folder), **about, **scores.to_dict(), "metric": metric, "rerank": reranked}
    result["training_minutes"] = round(run.history["seconds"].sum() / 60, 2) if len(run.history) else 0.0
    table = attribute_table(run, images, progress=watched())
    if table is not None:
        result["attributes"] = table.round(2).to_dict("index")
    if keep:
        write_whole(run.folder / "metrics.json", lambda path: path.write_text(json.dumps(result, indent=2)))
    if as_json:
        show_json(result)
    else:
        out.print(str(scores), markup=False)
        if table is not None:
            out.print(f"attributes of the test people, %:\n{table.round(1)}", markup=False)
        print(run.folder)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A folder that `reidkit train` made.")],
    ap: Annotated[str, typer.Option(help="precision, or trapezoid as in the first Market-1501 code.")] = "precision",
    metric: Annotated[str | None, typer.Option(help="euclidean, sqeuclidean or cosine; by default the run's.")] = None,
    rerank: Annotated[bool, typer.Option("--rerank", help="By common neighbours, Zhong et al. 2017.")] = False,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Score a finished run: mAP, CMC, mINP, and how many queries had no match."""
    from .distances import METRICS
    from .features import images_of
    from .metrics import AP_FORMS
    from .runs import load_run

    choose(ap, AP_FORMS, "ap")
    if metric is not None:
        choose(metric, METRICS, "metric")
    found = load_run(run)
    report(found, images_of(found, root), metric or found.recipe.metric, ap, as_json, reranked=rerank)


@app.command()
def search(
    run: Annotated[
        Path | None, typer.Argument(help="A folder that `reidkit train` made; left out: the bundled start.")
    ] = None,
    image: Annotated[Path | None, typer.Argument(help="A picture of one person.")] = None,
    top: Annotated[int, typer.Option(help="How many to show.")] = 10,
    gallery: Annotated[Path | None, typer.Option(help="Search in this folder of pictures instead.")] = None,
    attributes: Annotated[str, typer.Option(help='Who is wanted: "gender=female,backpack=yes".')] = "",
    rerank: Annotated[bool, typer.Option("--rerank", help="By common neighbours, Zhong et al. 2017.")] = False,
    save: Annotated[Path | None, typer.Option(help="Write the ranked strip as a picture.")] = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Find who looks most like a picture, or fits a description; with both, who looks like it among those that fit."""
    from . import plots
    from .backbones import bundled
    from .course import runs_folder
    from .finding import PICTURES, find
    from .runs import load_run

    if run is not None and image is None and run.suffix.lower() in PICTURES:
        run, image = None, run
    if run is None and gallery is None:
        raise InputError(
            "there is nothing to search in: give --gallery FOLDER, or a run, whose own gallery is searched "
            "(`reidkit train` makes one)."
        )
    if save is not None and save.suffix.lower() not in (".png", ".pdf", ".svg", ".jpg"):
        raise InputError(f"--save {save} has the ending {save.suffix!r}: use .png, .pdf, .svg or .jpg.")
    if top < 1:
        raise InputError(f"--top is {top}: ask for at least one place.")
    if image is None and not attributes:
        raise typer.BadParameter('give a picture, or --attributes such as "gender=female".')
    source, picture = load_run(run or bundled("resnet18")), str(absolute(image)) if image else None
    if run is None:  # what it finds is kept where runs are, not in the package
        source = replace(source, folder=runs_folder() / f"bundled-{source.images}")
        source.folder.mkdir(parents=True, exist_ok=True)
    wanted = dict(setting(part, "--attributes") for part in attributes.split(",")) if attributes else {}
    scale = partial(honest, source, root)
    table = find(source, image, wanted, folder=gallery, root=root, rerank=rerank, scale=scale, progress=watched())
    table = table.head(top)
    value = "distance" if image else "probability"
    table = table.assign(place=range(1, len(table) + 1), **{value: table[value].astype(float).round(4)})
    rows = table[["place", value, "pid", "camid", "path"]].to_dict("records")
    if save is not None and rows:
        figure = plots.found(picture, [(row["path"], f"{row['place']}: {row[value]:.2f}") for row in rows])
        save.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(save)
        tell(f"wrote {save}")
    if as_json:
        show_json({"image": picture, "attributes": wanted, "run": str(source.folder), "found": rows})
        return
    if not rows:
        tell(f"nobody in the gallery fits {attributes!r}.")
    for row in rows:
        who = "" if gallery else f"person {row['pid']}  camera {row['camid']}  "
        print(f"{row['place']:>3}  {row[value]:8.4f}  {who}{row['path']}")


def honest(run: Any, root: Path | None) -> Any:
    """Temperatures from the people whom the training held out; None where it held out nobody."""
    from .course import sets
    from .features import answer, images_of
    from .thresholds.calibration import temperatures

    held_out = sets(run.recipe, images_of(run, root), progress=watched())[1] if run.recipe.validation else None
    if held_out is None:
        return None
    return temperatures(answer(run, held_out, progress=watched()), held_out.attributes.numpy())


@app.command()
def course(
    profile: CourseProfile = "quick",
    dataset: CourseDataset = "synthetic",
    only: Annotated[str | None, typer.Option(help='Lessons by their number: "03", or "00,01".')] = None,
    again: Annotated[bool, typer.Option("--again", help="Those too for which nothing changed since they ran.")] = False,
    html: Annotated[bool, typer.Option("--html", help="Then build the documentation from them, as `docs`.")] = False,
) -> None:
    """Run the lessons on the synthetic people (or on a data set) and write their figures; say which claims held."""
    from .course import warm_kernels

    warm_kernels.warm_up()  # before the next line, which takes as long

    from .course import run

    say = partial(print, flush=True)
    run.run(profile, dataset, only=only, again=again, html=html, progress=watched(), say=say)


@app.command()
def docs(
    profile: CourseProfile = "quick",
    dataset: CourseDataset = "synthetic",
    folder: Annotated[Path | None, typer.Option("--out", help="By default site/ beside the executed lessons.")] = None,
) -> None:
    """Build the documentation: the lessons that `course` ran, the library's reference, results (extra docs)."""
    from .course import pages

    pages.document(profile, dataset, folder)


@app.command()
def figures(
    runs: Annotated[list[Path] | None, typer.Argument(help="Finished runs; all of them by default.")] = None,
    folder: Annotated[Path, typer.Option("--out", help="Where they go.")] = Path("figures"),
) -> None:
    """Draw what the papers draw, of every finished run and its data set, and their tables beside the measured ones."""
    from .course import figures, home, runs_folder

    for line in figures.draw(runs or figures.finished(runs_folder()), home() / "figures", folder):
        print(line, flush=True)


@app.command()
def lab() -> None:
    """JupyterLab on the notebooks, reachable from this machine only."""
    from .course import home, lessons

    first = lessons()[0]
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={home()}", "--ServerApp.ip=127.0.0.1"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    raise typer.Exit(subprocess.call([*command, str(first)]))


@app.command()
def browse(
    run: Annotated[Path, typer.Argument(help="A folder that `reidkit train` made.")],
    reader: Annotated[Path | None, typer.Option(help="Another run, which answers the attributes.")] = None,
) -> None:
    """The retrieval browser as a page, reachable from this machine only, for people who do not code (needs voila)."""
    from .features import images_of
    from .runs import load_run
    from .widgets.page import page

    given = [str(absolute(each)) for each in (run, reader) if each]
    for each in given:
        images_of(load_run(each))  # what is not there is refused here, not on the page
    line = f"browse({', reader='.join(map(repr, given))})"
    with tempfile.TemporaryDirectory(prefix="reidkit") as folder:
        command, variables = page(Path(folder), f"{run.name} · reidkit", ["from reidkit.widgets import browse", line])
        raise typer.Exit(subprocess.call(command, env={**os.environ, **variables}))


def main() -> None:
    """Run the command line; bad input becomes one sentence and exit status 1."""
    try:
        app()
    except InputError as error:
        tell(f"error: {str(error).rstrip('.')}.")
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        tell(f"error: {where}{error.strerror or error}: choose another path, make room, or change its permissions.")
        sys.exit(1)
    except SystemExit as end:
        if end.code == 130:  # Ctrl-C, as typer passes it on
            tell("stopped; the same command again goes on where it was.")
        raise


if __name__ == "__main__":
    main()

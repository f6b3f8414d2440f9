"""The documents beside the code say what is true: licence, citation, ethics, contributing, hooks before a commit."""

from __future__ import annotations

import re
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

import reidkit
from reidkit.course.papers import PAPERS
from reidkit.images import CARDS
from reidkit.synthetic import SIZES

TOP = Path(__file__).parents[1]
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
DOCUMENTS = ("CONTRIBUTING.md", "ETHICS.md")
CITATION = yaml.safe_load((TOP / "CITATION.cff").read_text(encoding="utf-8"))


def text_of(name: str) -> str:
    return (TOP / name).read_text(encoding="utf-8")


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(name), re.S | re.M)


# --- licence ---


def test_the_licence_is_the_same_everywhere() -> None:
    assert PROJECT["license"] == CITATION["license"] == "MIT" and PROJECT["license-files"] == ["LICENSE"]
    assert text_of("LICENSE").startswith("MIT License\n") and "the reidkit authors" in text_of("LICENSE")


def test_the_synthetic_people_are_in_the_public_domain_everywhere() -> None:
    write, size = import_module("reidkit.synthetic.write"), SIZES["smoke"]  # the package has a function of that name
    card = write.card(*write.plan(size, 0), {"size": "smoke", "seed": 0, "height": 128, "width": 64}, size)
    assert card["licence"] == "CC0-1.0" and "Licence: CC0 1.0" in write.readme(card)
    assert CARDS["synthetic"].licence.startswith("CC0 1.0")
    for name in ("README.md", "datasets/README.md", "ETHICS.md"):
        assert re.search(r"CC0", text_of(name)), name


# --- citation ---


def named(authors: list[dict[str, str]]) -> str:
    return ", ".join(f"{author['given-names']} {author['family-names']}" for author in authors)


def test_the_citation_is_of_this_version() -> None:
    """With the keys that version 1.2.0 of the format asks for, and no others than it knows."""
    assert CITATION["cff-version"] == "1.2.0" and CITATION["type"] == "software" and CITATION["message"]
    assert (CITATION["title"], CITATION["version"]) == (PROJECT["name"], PROJECT["version"])
    assert CITATION["authors"] == [{"name": "the reidkit authors"}]
    known = {"cff-version", "message", "title", "type", "version", "license", "abstract", "keywords", "authors"}
    assert set(CITATION) == known | {"references"}


def test_the_references_are_the_five_papers() -> None:
    assert len(CITATION["references"]) == len(PAPERS) == 5
    places = {"report": "institution", "conference-paper": "conference", "article": "journal"}
    for reference, paper in zip(CITATION["references"], PAPERS.values(), strict=True):
        assert (reference["title"], reference.get("year")) == (paper.title, paper.year)
        assert named(reference["authors"]) == paper.authors
        place = reference[places[reference["type"]]]
        assert (place if isinstance(place, str) else place["name"]) == paper.venue
        assert set(reference) <= {"type", "title", "authors", "year", *places.values()}


# --- hooks ---


def commands(stage: str) -> list[str]:
    """What a stage of .ci/run calls, in order."""
    (body,) = re.findall(rf"^{stage}\(\) \{{ (.*?);? \}}$", text_of(".ci/run"), re.M)
    return [command.strip() for command in body.split("&&")]


def test_the_hooks_are_the_lint_and_types_of_ci() -> None:
    (repository,) = yaml.safe_load(text_of(".pre-commit-config.yaml"))["repos"]
    assert repository["repo"] == "local", "nothing is fetched from elsewhere"
    hooks = repository["hooks"]
    assert [hook["entry"] for hook in hooks] == commands("lint") + commands("types")
    assert len({hook["id"] for hook in hooks}) == len(hooks) == 3
    for hook in hooks:
        assert hook["language"] == "system" and not hook["pass_filenames"] and hook["always_run"]


# --- documents ---


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_a_document_names_is_there(name: str) -> None:
    """Links, files in backticks, anchors of the README, names of the library."""
    text = re.sub(r"^```.*?^```", "", text_of(name), flags=re.S | re.M)
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    files = re.findall(r"`((?:\w+/)*\w+\.(?:py|md|ipynb|csv)|[a-z]+/(?:\w+/)*)`", text)
    assert links and files
    missing = [path for path in [*(link.split("#")[0] for link in links), *files] if not (TOP / path).exists()]
    assert [path for path in missing if path not in ("runs/", "course/")] == []  # these two are made by the course
    heads = {head.lower().replace(" ", "-") for head in re.findall(r"^## (.*)$", text_of("README.md"), re.M)}
    assert {link.split("#")[1] for link in links if "#" in link} <= heads
    modules = {path.stem for path in (TOP / "reidkit").iterdir()}
    assert set(re.findall(r"`reidkit\.([a-z]+)`", text)) <= modules


def test_contributing_names_what_ci_runs() -> None:
    stages = re.findall(r"stages=\((\w[\w ]+)\)", text_of(".ci/run"))[0].split()
    shell = "\n".join(blocks("CONTRIBUTING.md", "bash"))
    assert f"bash .ci/run               # {', '.join(stages)}" in shell
    assert (TOP / "notebooks" / "00_start_here.ipynb").exists() and "--only 00" in shell


def test_the_system_of_contributing_is_one() -> None:
    """Short, and a subclass of the class it describes: its losses can be computed and learnt from."""
    definition, use = blocks("CONTRIBUTING.md", "python")
    assert len(definition.splitlines()) <= 40
    compile(use, "CONTRIBUTING.md", "exec")
    if not hasattr(reidkit, "System"):
        compile(definition, "CONTRIBUTING.md", "exec")
        pytest.skip("systems are modules here, not classes")
    import torch

    from reidkit.backbones import build
    from reidkit.data import Targets

    room: dict[str, Any] = {}
    exec(compile(definition, "CONTRIBUTING.md", "exec"), room)
    system, mine = room["MySystem"], room["mine"]
    assert mine.system == system.name and mine.profile == "smoke"
    assert {"smoke", "quick", "paper"} == set(system.RECIPES)
    network = system(build("resnet18"), Targets(people=2, images=4), system.Options())
    batch = {"image": torch.rand(4, 3, 64, 32), "label": torch.tensor([0, 0, 1, 1])}
    losses = network.objective(network(batch["image"]), batch)
    sum(losses.values()).backward()
    assert network.describe(batch["image"]).shape == (4, network.backbone.channels)
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())


def test_the_example_of_ethics_is_that_of_the_file() -> None:
    rows = re.findall(r"^\| ((?:everybody|\w+: \w+)) \| (.*) \|$", text_of("ETHICS.md"), re.M)
    table = pd.read_csv(TOP / "figures" / "groups-synthetic.csv").set_index(["task", "group"])
    assert len(rows) == len(table) == 7
    for label, cells in rows:
        task, _, group = label.rpartition(": ")
        row = table.loc[(task or "all", group)]
        expected = [str(int(row["people"])), str(int(row["queries"]))]
        for name in ("mAP", "rank1"):
            mean, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
            band = "" if pd.isna(low) else f" ({low:.1f} to {high:.1f})"
            expected.append("" if pd.isna(mean) else f"{mean:.1f}{band}")
        assert [cell.strip() for cell in cells.split("|")] == expected, label


def test_the_code_of_ethics_names_what_there_is() -> None:
    (block,) = blocks("ETHICS.md", "python")
    room: dict[str, Any] = {}
    exec("\n".join(block.splitlines()[:2]), room)
    compile(block, "ETHICS.md", "exec")
    assert callable(room["by_group"]) and callable(room["Comparison"].of)


def test_the_licences_of_ethics_are_those_of_the_data_sets() -> None:
    """What is said there of a data set in words, beside its row of datasets/README.md."""
    text, table = text_of("ETHICS.md"), text_of("datasets/README.md").partition("\n## ")[0]
    rows = {name: row for name, row in re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.M) if name in CARDS}
    assert "research use only" in rows["market1501"] and "Market-1501 is for research use only" in text
    assert "withdrawn by its authors" in rows["dukemtmc"] and "no link, no download" in text
    for name in ("viper", "towncentre"):
        assert "not commercial" in rows[name]
    assert "not for commercial use" in text and "CC BY-NC-SA 4.0" in rows["pku"] and "CC BY-NC-SA 4.0" in text

"""The command line as a person meets it: exit status, what stands on stdout, what on stderr, what is written."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import fakes
import numpy as np
import pytest
import torch
from PIL import Image

from reidkit import backbones, cli, course, doctor
from reidkit.features import Features
from reidkit.images import CARDS


@dataclass(frozen=True)
class Done:
    status: int
    out: str
    err: str

    @property
    def json(self) -> dict:
        found = json.loads(self.out)  # fails unless stdout is one JSON value and nothing else
        assert isinstance(found, dict)
        return found


def reidkit(*words: object) -> Done:
    """`reidkit WORDS` in this process."""
    out, err = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["reidkit", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
    return Done(caught.value.code or 0, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Place:
    """A folder with fakes, one finished run, and everything that is wrong."""

    top: Path

    def __getattr__(self, name: str) -> Path:
        return self.top / name


SMALL = ("--set", "height=32", "--set", "width=16", "--set", "precision=32-true")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("cli"))
    fakes.synthetic(place.market)  # Market's layout with its attribute file
    fakes.table(place.top / "own.csv", camid=[1, 2, 1, 1, 2, 1])
    done = reidkit("train", "histogram", "--dataset", "market1501", "--root", place.market, *SMALL, "--out", place.run)
    assert done.status == 0, done.err
    return place


@pytest.fixture
def place(prepared: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A copy to break; default folders lie in it too."""
    shutil.copytree(prepared.top, tmp_path / "p")
    top = tmp_path / "p"
    about = json.loads((top / "run" / "environment.json").read_text())
    (top / "run" / "environment.json").write_text(json.dumps(about | {"root": str(top / "market")}))
    (top / "notebooks").mkdir()
    (top / "notebooks" / "00_start.ipynb").write_text("{}")
    monkeypatch.chdir(top)
    monkeypatch.setattr(course, "home", lambda: top)
    return Place(top)


# --- what works ---


def test_train_scores_and_prints_its_folder(place: Place) -> None:
    words = ("train", "baseline", "--dataset", "table", "--root", place.top / "own.csv", "--profile", "smoke", *SMALL)
    done = reidkit(*words, "--set", "epochs=1", "--set", "batch=4", "--set", "instances=2")
    assert done.status == 0, done.err
    folder = Path(done.out.splitlines()[-1])
    assert folder.parent == place.runs and "mAP" in done.out and done.err == f"training {folder}\n"
    assert json.loads((folder / "metrics.json").read_text())["n_queries"] == 1
    again = reidkit(*words, "--set", "epochs=1", "--set", "batch=4", "--set", "instances=2", "--json")
    assert again.err == f"loaded the finished run {folder}\n"
    assert again.json["run"] == str(folder) and again.json["profile"] == "smoke" and again.json["mAP"] == 100


def test_evaluate_agrees_with_the_files_it_reads(place: Place) -> None:
    found = reidkit("evaluate", place.run, "--ap", "trapezoid", "--metric", "cosine", "--json")
    assert found.status == 0 and found.err == ""
    assert (found.json["n_queries"], found.json["n_without_match"]) == (3, 2)
    assert (found.json["ap"], found.json["metric"], found.json["rule"]) == ("trapezoid", "cosine", "market1501")
    assert (
        f"mAP {found.json['mAP']:.1f} (trapezoid)"
        in reidkit("evaluate", place.run, "--ap", "trapezoid", "--metric", "cosine").out
    )


def test_evaluate_by_common_neighbours(place: Place) -> None:
    found = reidkit("evaluate", place.run, "--rerank", "--json")
    assert found.status == 0 and found.err == ""
    assert found.json["rerank"] is True and found.json["metric"] == "euclidean"
    assert reidkit("evaluate", place.run, "--json").json["rerank"] is False
    assert "re-ranked, rule market1501" in reidkit("evaluate", place.run, "--rerank").out


def test_search_finds_the_image_itself_and_draws_it(place: Place) -> None:
    image = place.market / "bounding_box_test" / "0001_c2s1_000102_01.jpg"
    found = reidkit("search", place.run, image, "--top", 3, "--save", place.top / "deep" / "found.png", "--json")
    assert found.status == 0 and found.err == f"wrote {place.top / 'deep' / 'found.png'}\n"
    first, *others = found.json["found"]
    assert Path(first["path"]).name == image.name and (first["pid"], first["camid"], first["place"]) == (1, 2, 1)
    assert first["distance"] < 1e-3 < others[0]["distance"] and len(others) == 2
    assert -1 not in {row["pid"] for row in found.json["found"]}  # junk is not shown
    assert np.array(Image.open(place.top / "deep" / "found.png")).ndim == 3
    assert image.name in reidkit("search", place.run, image).out.splitlines()[0]


def test_search_in_a_folder_of_ones_own(place: Place) -> None:
    image = fakes.image(place.top / "own" / "me.png", 3)
    for i in range(4):
        fakes.image(place.top / "own" / f"{i}.png", i)
    found = reidkit("search", place.run, image, "--gallery", place.top / "own", "--top", 3, "--json")
    assert found.status == 0 and found.err == ""
    names = [Path(row["path"]).name for row in found.json["found"]]
    assert set(names[:2]) == {"3.png", "me.png"} and len(names) == 3
    again = reidkit("search", place.run, image, "--gallery", place.top / "own", "--rerank")
    assert again.status == 0 and "person" not in again.out and len(again.out.splitlines()) == 5
    assert reidkit("search", place.run, image, "--rerank").status == 0


def test_search_by_words(place: Place) -> None:
    words = ("train", "two_stage", "--dataset", "market1501", "--root", place.market, "--profile", "smoke", *SMALL)
    done = reidkit(*words, "--set", "epochs=1", "--set", "batch=4", "--set", "validation=0.5", "--json")
    assert done.status == 0, done.err
    run = Path(done.json["run"])
    found = reidkit("search", run, "--attributes", "gender=female,hat=no", "--json", "--save", place.top / "found.png")
    assert found.status == 0, found.err
    chances = [row["probability"] for row in found.json["found"]]
    assert chances == sorted(chances, reverse=True) and all(0 <= c <= 1 for c in chances)
    assert (place.top / "found.png").exists() and -1 not in {row["pid"] for row in found.json["found"]}
    image = place.market / "query" / "0001_c1s1_000100_00.jpg"
    both = reidkit("search", run, image, "--attributes", "gender=female", "--json").json["found"]
    other = reidkit("search", run, image, "--attributes", "gender=male", "--json").json["found"]
    everybody = reidkit("search", run, image, "--json").json["found"]
    assert sorted(r["path"] for r in both + other) == sorted(r["path"] for r in everybody)
    nobody = reidkit("search", run, image, "--attributes", "gender=female,age=old,upcolor=blue,downcolor=brown")
    assert nobody.status == 0
    for words, sentence in (
        (("--attributes", "sex=female"), "attribute 'sex' is not known"),
        (("--attributes", "gender=woman"), "gender 'woman' is not known"),
        (("--attributes", "gender"), "is no NAME=VALUE, such as gender=female"),
        (("--attributes", "hat=yes", "--rerank"), "give a picture too"),
    ):
        wrong = reidkit("search", run, *words)
        assert wrong.status == 1 and sentence in wrong.err and "Traceback" not in wrong.err
    assert "answers no attributes" in reidkit("search", place.run, "--attributes", "hat=yes").err


def test_search_without_a_run(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("train", "start", "--dataset", "market1501", "--root", place.market, "--profile", "smoke", *SMALL)
    weights = place.top / "weights"
    done = reidkit(
        *words, *["--set", "epochs=1", "--set", "batch=4", "--set", "parts=0", "--json", "--out"], weights / "resnet18"
    )
    assert done.status == 0, done.err
    monkeypatch.setattr(backbones, "BUNDLED", weights)
    monkeypatch.setattr(course, "home", lambda: place.top / "home")
    own, before = place.top / "some", sorted((weights / "resnet18").iterdir())
    for i in range(4):
        fakes.image(own / f"{i}.png", i)
    found = reidkit("search", own / "2.png", "--gallery", own, "--json")
    assert found.status == 0 and Path(found.json["found"][0]["path"]).name == "2.png", found.err
    assert "runs/bundled-" in found.json["run"] and sorted((weights / "resnet18").iterdir()) == before
    assert len(reidkit("search", "--gallery", own, "--attributes", "gender=female").out.splitlines()) == 4
    alone = reidkit("search", own / "2.png")
    assert alone.status == 1 and "there is nothing to search in: give --gallery FOLDER" in alone.err


def test_data_list_knows_every_card(place: Place) -> None:
    found = reidkit("data", "list", "--json")
    assert [row["name"] for row in found.json["datasets"]] == list(CARDS) and found.err == ""
    assert not any(row["here"] for row in found.json["datasets"])
    fakes.market(place.datasets / "Market-1501-v15.09.15")
    here = {row["name"]: row["here"] for row in reidkit("data", "list", "--json").json["datasets"]}
    assert [name for name in here if here[name]] == ["market1501"]
    assert all(card.title in reidkit("data", "list").out for card in CARDS.values())


def test_data_check_says_what_is_there_and_what_is_wrong(place: Place) -> None:
    found = reidkit("data", "check", "market1501", "--root", place.market, "--json")
    assert found.status == 0 and found.json["ok"] and found.json["rule"] == "market1501"
    assert found.json["counts"]["train"] == {"images": 10, "people": 5}
    said = reidkit("data", "check", "market1501", "--root", place.market)
    assert "train: 10 images of 5 people" in said.out and said.out.endswith("usable\n")
    assert "2 of 3 queries have no valid match" in said.out


@pytest.mark.parametrize("as_json", [False, True])
def test_data_check_finds_broken_images_and_strangers(as_json: bool, place: Place) -> None:
    cut = place.market / "query" / "0001_c1s1_000100_00.jpg"
    cut.write_bytes(cut.read_bytes()[:400])
    fakes.attribute_mat(place.market / "market_attribute.mat", pids=((2, 7, 10), (1, 3, 4)))
    words = ["data", "check", "market1501", "--root", place.market]
    done = reidkit(*words, *["--json"] * as_json)
    assert done.status == 1 and "Traceback" not in done.err
    text = " ".join(p["sentence"] for p in done.json["problems"]) if as_json else done.out
    assert "1 of 18 images do not decode" in text and cut.name in text
    assert "2 of the 8 people in the images have no attributes" in text and "11, 12" in text
    assert (not done.json["ok"]) if as_json else "not fit for training" in done.out


@pytest.mark.parametrize("per", ["identity", "image"])
def test_data_stats(per: str, place: Place) -> None:
    found = reidkit("data", "stats", "market1501", "--root", place.market, "--per", per, "--json").json
    assert (found["per"], found["split"], found["counted"]) == (per, "train", 5 if per == "identity" else 10)
    shares = [sum(cls["share"] for cls in task.values()) for task in found["tasks"].values()]
    assert len(shares) == 12 and shares == pytest.approx([100] * 12, abs=0.05)
    assert (
        f"market1501, train, per {per}"
        in reidkit("data", "stats", "market1501", "--root", place.market, "--per", per).out
    )


def fake_speech(code: str) -> tuple[bool, str]:
    return True, "cpu (1 threads), 32-true" if "fabric" in code else "2.11 0.26"


@pytest.mark.usefixtures("place")
def test_doctor_in_good_health(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "speak", fake_speech)
    found = reidkit("doctor", "--json")
    assert found.status == 0 and {f["level"] for f in found.json["findings"]} <= {"ok", "warning"}
    assert {"python", "torch", "torch and torchvision", "device", "lessons", "data sets"} <= {
        f["what"] for f in found.json["findings"]
    }
    assert "import together" in reidkit("doctor").out


def test_doctor_names_the_ailment_and_the_mend(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    needs = ["torch>=99", "no-such-package>=1", "numpy>=2", "pytest; extra == 'test'"]
    monkeypatch.setattr(doctor, "requires", lambda _: needs)
    monkeypatch.setattr(doctor, "speak", lambda _: (False, "RuntimeError: operator torchvision::nms does not exist"))
    done = reidkit("doctor", "--json")
    found = {f["what"]: f for f in done.json["findings"]}
    assert done.status == 1 and "pytest" not in found and "device" not in found and found["numpy"]["level"] == "ok"
    assert "is outside >=99: pip install 'torch>=99'" in found["torch"]["sentence"]
    assert "is not installed: pip install 'no-such-package>=1'" in found["no-such-package"]["sentence"]
    assert "different builds" in found["torch and torchvision"]["sentence"]
    monkeypatch.setattr(doctor, "FREE_GIB", 1e9)
    assert doctor.disk(place.top).level == "warning"


def test_doctor_asks_in_a_process_of_its_own() -> None:
    assert doctor.speak("print('first'); print('last')") == (True, "last")
    assert doctor.speak("raise ValueError('ill')") == (False, "ValueError: ill")
    assert doctor.speak("import os; os._exit(3)") == (False, "exit status 3")


@pytest.mark.slow
def test_the_real_doctor() -> None:
    command = [sys.executable, "-m", "reidkit.cli", "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert any(f["what"] == "device" for f in json.loads(done.stdout)["findings"])


# --- what does not ---


def lost(place: Place) -> Path:
    return place.market.rename(place.top / "elsewhere")


def altered(change: Callable[[Features], Features]) -> Callable[[Place], Path]:
    """The run with other descriptors of its queries."""

    def make(place: Place) -> Path:
        assert reidkit("evaluate", place.run).status == 0  # describes the images of this copy
        file = place.run / "features-query.safetensors"
        change(Features.load(file)).save(file)
        return place.run

    return make


def wrote(name: str, content: bytes) -> Callable[[Place], Path]:
    def make(place: Place) -> Path:
        (place.top / name).parent.mkdir(parents=True, exist_ok=True)
        (place.top / name).write_bytes(content)
        return place.top / name

    return make


def mat(content: bytes) -> Callable[[Place], Path]:
    return wrote("market/market_attribute.mat", content)


def cut_mat(place: Place) -> Path:
    file = place.market / "market_attribute.mat"
    return mat(file.read_bytes()[:500])(place)


def table(**columns: list[object]) -> Callable[[Place], Path]:
    return lambda place: fakes.table(place.top / "bad.csv", **columns)


def spoiled_jpeg(folder: str) -> Callable[[Place], Path]:
    def spoil(place: Place) -> Path:
        file = min((place.market / folder).glob("*.jpg"))
        file.write_bytes(file.read_bytes()[:400])
        return place.market

    return spoil


def stray_name(place: Place) -> Path:
    fakes.image(place.market / "query" / "holiday.jpg")
    return place.market


def no_queries(place: Place) -> Path:
    for file in (place.market / "query").glob("*.jpg"):
        file.unlink()
    return place.market


def misspelt_folder(place: Place) -> Path:
    (place.market / "bounding_box_train").rename(place.market / "bounding_box_trian")
    return place.market


def empty(place: Place) -> Path:
    (place.top / "empty").mkdir()
    return place.top / "empty"


def nothing(place: Place) -> Path:
    return place.top


MARKET = ("train", "baseline", "--dataset", "market1501", "--root", "market")
FEW = ("--set", "batch=4", "--set", "instances=2")
TABLE = ("train", "baseline", "--dataset", "table", "--root", "bad.csv", *FEW, *SMALL)
STATS = ("data", "stats", "market1501", "--root", "market")
IMAGE = "market/query/0001_c1s1_000100_00.jpg"
BAD: dict[str, tuple[Callable[[Place], Path], tuple[str, ...], str]] = {
    "absent folder": (nothing, ("data", "check", "market1501", "--root", "nowhere"), "there is no .*nowhere"),
    "misspelt root": (nothing, ("data", "check", "market1501", "--root", "markte"), "did you mean .*market"),
    "empty folder": (empty, ("data", "check", "market1501", "--root", "empty"), "is empty"),
    "misspelt folder": (misspelt_folder, MARKET, "'bounding_box_trian', not 'bounding_box_train'"),
    "truncated JPEG": (spoiled_jpeg("bounding_box_train"), (*MARKET, *SMALL), "1 of 18 images do not decode"),
    "truncated query": (spoiled_jpeg("query"), (*MARKET, *SMALL), "1 of 18 images do not decode: .*query"),
    "truncated gallery": (spoiled_jpeg("bounding_box_test"), (*MARKET, *SMALL), "1 of 18 images do not decode"),
    "stray name": (stray_name, MARKET, "holiday.jpg is not named like"),
    "no queries": (no_queries, MARKET, "query holds no .jpg image"),
    "unknown data set": (nothing, ("data", "check", "market1502"), "did you mean 'market1501'"),
    "unknown data set to train on": (nothing, ("train", "baseline", "--dataset", "vipr"), "did you mean 'viper'"),
    "fold too high": (nothing, ("data", "check", "viper", "--fold", "10"), "folds 0 to 9"),
    "HTML for .mat": (mat(b"<!DOCTYPE html><html>"), STATS, "web page"),
    "empty .mat": (mat(b""), STATS, "empty"),
    "truncated .mat": (cut_mat, STATS, "truncated or damaged"),
    "no attributes at all": (nothing, ("data", "stats", "pku", "--root", "market"), "has no attributes"),
    "statistics per what": (nothing, (*STATS, "--per", "camera"), "by image or by identity"),
    "NaN in features": (
        altered(lambda f: Features(f.descriptor * torch.nan, f.table)), ("evaluate", "run"), "NaN or infinity in 3 of 3"
    ),
    "mismatched lengths": (
        altered(lambda f: Features(f.descriptor[:2], f.table)), ("evaluate", "run"), "query_pids has the shape"
    ),
    "mismatched widths": (
        altered(lambda f: Features(f.descriptor[:, :9], f.table)), ("evaluate", "run"), "9 numbers a row and gallery"
    ),
    "broken features": (wrote("run/features-query.safetensors", b"x"), ("evaluate", "run"), "holds no descriptors"),
    "unknown metric": (nothing, ("evaluate", "run", "--metric", "cosin"), "did you mean 'cosine'"),
    "unknown AP": (nothing, ("evaluate", "run", "--ap", "area"), "choose one of precision, trapezoid"),
    "run absent": (nothing, ("evaluate", "rnu"), "there is no run in rnu"),
    "run of something else": (nothing, ("evaluate", "market"), "is no finished run"),
    "run damaged": (wrote("run/model.safetensors", b"x" * 99), ("evaluate", "run"), "is no finished run"),
    "another run there": (nothing, (*MARKET, *SMALL, "--out", "run"), "another recipe"),
    "a file there": (wrote("file", b""), (*MARKET, *SMALL, "--out", "file"), "there is no run in file"),
    "no queries in table": (table(split=["train"] * 3 + ["gallery"] * 3), TABLE, "the split query has no images"),
    "no valid match": (table(pid=[1, 1, 2, 3, 4, 4]), TABLE, "1 of 1 queries have no valid match"),
    "one person": (table(pid=[1, 1, 1, 3, 3, 4]), TABLE, "found 1 person in the training images"),
    "table without columns": (wrote("bad.csv", b"a,b\n1,2\n"), TABLE, "lacks path, pid, split"),
    "table with names for pids": (table(pid=["ann", 1, 2, 3, 3, 4]), TABLE, "column 'pid' holds 'ann' in row 1"),
    "empty table": (wrote("bad.csv", b""), TABLE, "cannot be read as a table"),
    "table of no rows": (wrote("bad.csv", b"path,pid,split\n"), TABLE, "has no rows"),
    "unknown system": (nothing, ("train", "baselin"), "Did you mean 'baseline'"),
    "unknown profile": (nothing, ("train", "baseline", "--profile", "quik"), "choose one of smoke, quick, paper"),
    "unknown setting": (nothing, (*MARKET, "--set", "epoch=3"), "did you mean 'epochs'"),
    "setting without value": (nothing, (*MARKET, "--set", "epochs"), "is no NAME=VALUE"),
    "bad value": (nothing, (*MARKET, "--set", "epochs=many"), "epochs='many' is no int"),
    "bad option": (nothing, (*MARKET, *SMALL, "--set", "smoothing=2"), "smoothing is 2.0"),
    "batch too small": (nothing, (*MARKET, "--set", "batch=4"), "give batch at least 8"),
    "negative seed": (nothing, (*MARKET, "--seed", "-1"), "seed is -1"),
    "unknown backbone": (nothing, (*MARKET, *SMALL, "--set", "backbone=resnet20"), "choose one of alexnet"),
    "weights absent": (nothing, (*MARKET, *SMALL, "--set", "pretrained=gone.pth"), "'gone.pth' are not there"),
    "diverged": (nothing, (*MARKET, *SMALL, *FEW, "--set", "lr=1e30", "--set", "warmup=0"), "the training diverged"),
    "image absent": (nothing, ("search", "run", "gone.jpg"), "gone.jpg is not there"),
    "image of no image": (wrote("a.jpg", b"text"), ("search", "run", "a.jpg"), "a.jpg does not decode"),
    "wrong ending": (nothing, ("search", "run", IMAGE, "--save", "a.docx"), "has the ending '.docx'"),
    "no places": (nothing, ("search", "run", IMAGE, "--top", "0"), "--top is 0"),
    "unknown lesson": (nothing, ("course", "--only", "77"), "no lesson starts with '77'"),
    "unknown profile of lessons": (nothing, ("course", "--profile", "quik"), "choose one of smoke"),
    "unknown data of lessons": (nothing, ("course", "--dataset", "vipr"), "did you mean 'viper'"),
    "unknown size": (nothing, ("data", "synthetic", "--size", "huge"), "choose one of smoke"),
    "page of no run": (nothing, ("browse", "rnu"), "there is no run in .*rnu"),
    "page of images that are gone": (lost, ("browse", "run"), "there is no .*market"),
    "no runs to draw": (nothing, ("figures",), "there is no finished run"),
}  # fmt: skip


def test_figures_of_one_run(place: Place) -> None:
    done = reidkit("figures", place.run, "--out", place.drawn)
    assert done.status == 0, done.err
    assert [line.partition(":")[0] for line in done.out.splitlines()] == [
        "data-market1501",
        "run",
        "comparison",
        "tables",
    ]
    for name in ("ranked", "cmc", "distances"):
        assert (place.drawn / "run" / f"{name}.png").stat().st_size and (place.drawn / "run" / f"{name}.pdf").exists()
    assert (place.drawn / "data-market1501" / "statistics.csv").exists()


def listing(top: Path) -> Iterator[tuple[str, int, int]]:
    for path in sorted(top.rglob("*")):
        yield str(path), path.stat().st_mtime_ns, path.stat().st_size


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_one_sentence_and_writes_nothing(kind: str, place: Place) -> None:
    make, words, message = BAD[kind]
    make(place)
    before = list(listing(place.top))
    done = reidkit(*words)
    *progress, sentence = done.err.splitlines()
    assert done.status == 1 and done.out == ""
    assert all(line.startswith("training ") for line in progress), done.err
    assert sentence.startswith("error: ") and "Traceback" not in done.err
    assert re.search(message, sentence, re.I), sentence
    assert list(listing(place.top)) == before


@pytest.mark.parametrize(
    "words",
    [("train",), ("evaluate",), ("search", "run"), ("frobnicate",), ("data", "check", "market1501", "--fold", "x"),
     ("data", "list", "--jsn")],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage_is_status_2(words: tuple[str, ...], place: Place) -> None:
    before = list(listing(place.top))
    done = reidkit(*words)
    assert done.status == 2 and done.out == "" and "Traceback" not in done.err and "Usage" in done.err
    assert list(listing(place.top)) == before


@pytest.mark.usefixtures("place")
def test_permissions_are_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "/runs")

    monkeypatch.setattr("reidkit.runs.load_or_fit", refuse)
    done = reidkit(*MARKET, *SMALL)
    assert done.status == 1 and done.err.startswith("error: /runs: Permission denied: choose another path")


@pytest.mark.usefixtures("place")
def test_ctrl_c_is_status_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("reidkit.runs.load_or_fit", stop)
    done = reidkit(*MARKET, *SMALL)
    assert done.status == 130 and "goes on where it was" in done.err

"""Attributes of people: what each benchmark annotates, its readers, and what the labels look like.

A person's attributes are held once, by pid, and seen in two ways: `tasks` (one class index per question, as
softmax heads learn it) and `binary` (one yes/no per column, as sigmoid heads learn it). Everywhere -1 is a
missing label: it is masked, never guessed.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.io import loadmat

from .errors import InputError, choose, nearest
from .images import COLUMNS, absolute, card_of, default_root, is_person, read_images

MISSING = -1
NO_YES = ("no", "yes")
FILES = {"market1501": "market_attribute", "synthetic": "market_attribute", "dukemtmc": "duke_attribute"}


@dataclass(frozen=True)
class Task:
    """One question with exclusive answers: its classes in order, and the annotated columns that answer it."""

    name: str
    classes: tuple[str, ...]
    columns: tuple[str, ...]  # one column, or for colours one per class except the last, "multi"

    @property
    def binary_columns(self) -> tuple[str, ...]:
        """The columns of the binary view: a question of three or more answers becomes one column each."""
        if len(self.columns) > 1 or len(self.classes) == 2:
            return self.columns
        return tuple(f"{self.name}_{cls}" for cls in self.classes)


@dataclass(frozen=True)
class Schema:
    """The tasks of a benchmark in order, and the annotated columns behind them."""

    name: str
    tasks: tuple[Task, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Every annotated column, in the order of the tasks."""
        return tuple(column for task in self.tasks for column in task.columns)


_DATA = tomllib.loads((Path(__file__).parent / "schemas.toml").read_text(encoding="utf-8"))
VIPER19 = tuple(_DATA["names"]["viper19"])  # the attributes that paper 003 asks of VIPeR


def _schema(benchmark: str) -> Schema:
    """The schema of a benchmark from schemas.toml; a question of colours has a column for each but "multi"."""
    tasks = []
    for name, classes in _DATA["schemas"][benchmark].items():
        part = name.removesuffix("color")
        tasks.append(Task(name, tuple(classes), (name,) if part == name else tuple(part + c for c in classes[:-1])))
    return Schema(benchmark, tuple(tasks))


MARKET, DUKE = _schema("market1501"), _schema("dukemtmc")


@dataclass(frozen=True, eq=False)
class Attributes:
    """The attributes of a benchmark's people.

    `table` is indexed by pid, one int64 column per annotated column, decoded: 0, 1, ... in the order of the
    task's classes (no 0, yes 1), -1 missing. `split` is "train" or "test" for each pid.
    """

    schema: Schema
    table: pd.DataFrame
    split: pd.Series

    @cached_property
    def tasks(self) -> pd.DataFrame:
        """Class index per person and task, (P, T) int64, -1 missing.

        A colour task with no colour marked, or with several, has its last class, "multi".
        """
        answers: dict[str, Any] = {}
        for task in self.schema.tasks:
            values = self.table[list(task.columns)]
            if len(task.columns) == 1:
                answers[task.name] = values.iloc[:, 0]
            else:
                marked = (values == 1).to_numpy()
                colour = np.where(marked.sum(1) == 1, marked.argmax(1), len(task.columns))
                answers[task.name] = np.where((values < 0).any(axis="columns"), MISSING, colour)
        return pd.DataFrame(answers, index=self.table.index).astype("int64")

    @cached_property
    def binary(self) -> pd.DataFrame:
        """Yes (1) or no (0) per person and column, (P, A) int64, -1 missing: A is 30 for Market, 23 for Duke.

        A two-answer question is 1 for its second answer (gender: female); age is four columns, one of them 1.
        """
        answers: dict[str, pd.Series] = {}
        for task in self.schema.tasks:
            if task.binary_columns == task.columns:
                answers |= {column: self.table[column] for column in task.columns}
            else:
                value = self.table[task.columns[0]]
                for k, column in enumerate(task.binary_columns):
                    answers[column] = (value == k).astype("int64").mask(value == MISSING, MISSING)
        return pd.DataFrame(answers, index=self.table.index).astype("int64")

    def of(self, pids: Iterable[int], *, binary: bool = False) -> np.ndarray:
        """Labels of N images by their pids, (N, T) int64, or the binary view, (N, A); -1 for strangers."""
        view = self.binary if binary else self.tasks
        return view.reindex(np.asarray(pids), fill_value=MISSING).to_numpy("int64")

    def only(self, names: Iterable[str]) -> Attributes:
        """The same people with these tasks only, in this order; InputError for a name that is none."""
        tasks = {task.name: task for task in self.schema.tasks}
        chosen = tuple(tasks[choose(name, tasks, f"{self.schema.name}: task")] for name in names)
        if not chosen:
            raise InputError(f"{self.schema.name}: no task is asked for; there are {', '.join(tasks)}.")
        schema = Schema(self.schema.name, chosen)
        return Attributes(schema, self.table[list(schema.columns)], self.split)

    def describe(self, pid: int) -> list[str]:
        """What is marked for a person, in words, such as ["adult", "female", "long hair", "white upper"]."""
        if pid not in self.table.index:
            raise InputError(f"person {pid} has no attributes; there are those of {len(self.table)} people")
        codes = zip(self.schema.tasks, self.of([pid])[0].tolist(), strict=True)
        known = ((task, task.classes[code]) for task, code in codes if code != MISSING)
        return [_words(task, cls) for task, cls in known if cls != "no"]


def readable(schema: Schema) -> dict[str, str]:
    """What a 1 in each column of the binary view means, in words: {"gender": "female", "upred": "red upper", ...}."""
    names: dict[str, str] = {}
    for task in schema.tasks:
        yes = task.classes[-1:] if len(task.binary_columns) == 1 else task.classes
        names |= {column: _words(task, cls) for column, cls in zip(task.binary_columns, yes, strict=False)}
    return names


def _words(task: Task, cls: str) -> str:
    if cls == "yes":
        return re.sub(r"(?<=[a-z])(?=[A-Z0-9])", " ", task.name).lower()
    if task.name in ("upcolor", "downcolor"):
        return f"{cls.replace('multi', 'multi-colour')} {'upper' if task.name == 'upcolor' else 'lower'}"
    if task.name in ("hair", "top", "shoes"):
        return f"{cls} {task.name}"
    return cls if task in MARKET.tasks or task in DUKE.tasks else f"{task.name} {cls}"


# Readers ------------------------------------------------------------------------------------------------


def read_attributes(
    name: str, root: str | os.PathLike[str] | None = None, file: str | os.PathLike[str] | None = None, *, fold: int = 0
) -> Attributes:
    """Read the attributes of a benchmark's people.

    Args:
        name: a data set of `reidkit.images.CARDS`; pku has no attributes.
        root: the data set's folder as for `read_images` (for "table": the file). The annotation is looked for in it, in
            its folder `attribute`, and beside it.
        file: the annotation itself (.mat or Label.txt), wherever it lies.
        fold: of viper and towncentre, whose people are split at random: the one given to `read_images`.

    Raises:
        InputError: the data set has none, or the file is absent, a web page, truncated, or of other content.
    """
    card = card_of(name)
    if name == "pku":
        raise InputError(f"{card.title} has no attributes; use it for re-identification, or choose another data set")
    given = absolute(file) if file is not None else None
    if name == "table":
        return _from_table(read_images(name, given or root))
    if name in FILES:
        mat = given or _find(name, root, f"{FILES[name]}.mat")
        return _from_mat(mat, FILES[name], DUKE if name == "dukemtmc" else MARKET)
    images = read_images(name, root if root is not None or given is None else given.parent, fold=fold)
    return _from_labels(given or _find(name, images.attrs["root"], "Label.txt"), name, images)


def _find(name: str, root: str | os.PathLike[str] | None, filename: str) -> Path:
    top = absolute(root) if root is not None else default_root(name)
    places = (top, top / "attribute", top.parent)
    for folder in places:
        if (folder / filename).is_file():
            return folder / filename
    seen = [path.name for folder in places if folder.is_dir() for path in folder.iterdir() if path.is_file()]
    guess = nearest(filename, [n for n in seen if Path(n).suffix == Path(filename).suffix])
    hint = f"there is a {guess}, so give it as file; " if guess else ""
    raise InputError(
        f"{card_of(name).title}: there is no {filename} in {top}, in its folder attribute, or beside it; "
        f"{hint}datasets/README.md says where it comes from"
    )


def _kind(file: Path) -> str:
    """What a file is by its first bytes, in words; "MATLAB 5" is the one that can be read."""
    try:
        with file.open("rb") as stream:
            head = stream.read(1024)
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}; give the annotation as file") from error
    kinds = (
        (not head, "an empty file"),
        (head.startswith(b"MATLAB 5.0"), "MATLAB 5"),
        (head.startswith(b"MATLAB 7.3") or b"\x89HDF\r\n\x1a\n" in head, "a MATLAB 7.3 (HDF5) file"),
        (head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"), "a web page (HTML)"),
        (head.startswith(b"version https://git-lfs"), "a Git LFS pointer"),
        (head.startswith(b"PK"), "a zip archive"),
    )
    return next((kind for found, kind in kinds if found), f"a file of unknown kind (it begins {head[:16]!r})")


def _from_mat(file: Path, struct: str, schema: Schema) -> Attributes:
    """The published .mat: a struct with `train` and `test`, each one array per column and `image_index`."""
    kind = _kind(file)
    if kind != "MATLAB 5":
        mend = "save it with -v7" if "HDF5" in kind else "download the file itself again"
        raise InputError(f"{file} is {kind}, not a MATLAB 5 file with the struct {struct}; {mend}")
    try:
        content = loadmat(file, squeeze_me=True, struct_as_record=False)
    except Exception as error:  # scipy raises a dozen kinds for a broken file
        size = file.stat().st_size
        raise InputError(f"{file} is truncated or damaged ({size} bytes); download it again") from error
    if struct not in content:
        found = ", ".join(key for key in content if not key.startswith("__")) or "nothing"
        raise InputError(f"{file} holds {found}, not the struct {struct}; give the file of this data set")
    parts = {split: _part(file, content[struct], split, schema) for split in ("train", "test")}
    table = pd.concat(parts.values())
    if table.index.has_duplicates:
        raise InputError(f"{file} annotates person {table.index[table.index.duplicated()][0]} twice; use the original")
    split = pd.concat([pd.Series(name, part.index, name="split") for name, part in parts.items()])
    return Attributes(schema, table, split)


def _part(file: Path, struct: Any, split: str, schema: Schema) -> pd.DataFrame:
    """One half of the struct, read by NAME: the order of the fields differs between train and test."""
    part = getattr(struct, split, None)
    columns = ("image_index", *schema.columns)
    lacking = [column for column in columns if not hasattr(part, column)]
    if lacking:
        raise InputError(f"{file}: {split} lacks {', '.join(lacking[:5])}; give the file of {schema.name}")
    values = {column: np.atleast_1d(getattr(part, column)) for column in columns}
    if len({len(array) for array in values.values()}) > 1:
        raise InputError(f"{file}: the columns of {split} have different lengths; download it again")
    try:
        pids = [int(str(text).strip()) for text in values["image_index"]]
        table = pd.DataFrame({c: values[c].astype("int64") for c in schema.columns}, index=pd.Index(pids, name="pid"))
    except ValueError as error:
        raise InputError(f"{file}: {split} holds {error}, where numbers are expected; download it again") from error
    for task in schema.tasks:
        most = len(task.classes) if len(task.columns) == 1 else 2
        for column in task.columns:
            if not table[column].between(0, most).all():
                raise InputError(f"{file}: {split}.{column} holds a value other than 0 to {most}; use the original")
    return table - 1  # published codes start at 1, and their 0 is a hole: it becomes -1


def _from_labels(file: Path, name: str, images: pd.DataFrame) -> Attributes:
    """PETA's Label.txt: `ID attribute attribute ...`, the true ones by name; one yes/no task per name found.

    The split is that of the images; labelled people without an image count as test.
    """
    try:
        lines = [line.split() for line in file.read_text(encoding="ascii").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read as text; expected PETA's Label.txt: unpack it again") from error
    wrong = next((line for line in lines if not line[0].isdigit() or len(line) < 2), None)
    if wrong or not lines:
        found = f"has a line {' '.join(wrong)[:60]!r}" if wrong else "is empty"
        raise InputError(f"{file} {found}; expected lines `ID attribute attribute ...`: unpack it again")
    # Subsets of PETA write footwearSneaker or footwearSneakers; its read-me has the first, and so have we.
    marked = {int(pid): {re.sub("Sneakers$", "Sneaker", word) for word in words} for pid, *words in lines}
    if len(marked) < len(lines):
        raise InputError(f"{file} has {len(lines)} lines for {len(marked)} people; keep one line a person")
    names = sorted(set().union(*marked.values()))
    pids = pd.Index(sorted(marked), name="pid")
    table = pd.DataFrame([[int(n in marked[pid]) for n in names] for pid in pids], pids, names, dtype="int64")
    return Attributes(Schema(name, tuple(Task(n, NO_YES, (n,)) for n in names)), table, _split_of(images, pids))


def _split_of(images: pd.DataFrame, pids: pd.Index) -> pd.Series:
    train = set(images.loc[images["split"].isin(["train", "val"]), "pid"])
    return pd.Series(["train" if pid in train else "test" for pid in pids], pids, name="split")


def _from_table(images: pd.DataFrame) -> Attributes:
    """Every whole-number, yes/no or text column beyond the fixed ones; empty cells and -1 are missing."""
    file, people = images.attrs["root"], images[is_person(images)]
    tasks, columns = [], {}
    for column in (str(c) for c in images.columns if c not in COLUMNS):
        if (values := _whole(people[column])) is None:
            continue
        answers = values.groupby(people["pid"])
        different = answers.nunique()
        if different.max() > 1:
            pid = different.idxmax()
            raise InputError(
                f"{file}: column {column!r} has several values for person {pid}; an attribute is the same "
                f"on all images of a person: mend it, or leave the column out"
            )
        classes: list[Any] = sorted(values.dropna().unique())
        if yes_no := set(classes) <= {0, 1}:
            classes = [0, 1]
        tasks.append(Task(column, NO_YES if yes_no else tuple(map(str, classes)), (column,)))
        columns[column] = answers.first().map({value: code for code, value in enumerate(classes)})
    if not tasks:
        raise InputError(f"{file} has no attribute columns; add one column per attribute, the same for all of a person")
    pids = pd.Index(sorted(people["pid"].unique()), name="pid")
    table = pd.DataFrame(columns).reindex(pids).fillna(MISSING).astype("int64")
    return Attributes(Schema("table", tuple(tasks)), table, _split_of(images, pids))


def _whole(column: pd.Series) -> pd.Series | None:
    """A column's values, None where missing; None for all if it holds fractions: a measure, no class."""
    if pd.api.types.is_numeric_dtype(column):
        if not (column.dropna() % 1 == 0).all():
            return None
        column = column.where(column >= 0)
        return column.map(int, na_action="ignore").astype(object).where(column.notna(), None)
    return column.map(lambda v: int(v) if isinstance(v, bool) else str(v), na_action="ignore").astype(object)

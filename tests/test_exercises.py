"""Exercises: each solution passes its own check, each usual mistake gets its sentence, each notebook asks them all."""

from __future__ import annotations

import ast
import inspect
import re
import time
from collections.abc import Callable
from copy import deepcopy
from itertools import cycle
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch

from reidkit import course
from reidkit.course import exercises
from reidkit.course.exercises import Exercise, judge, known, same
from reidkit.errors import InputError

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
EXERCISES = exercises.by_lesson()
EVERY = [(lesson, number) for lesson, those in EXERCISES.items() for number in range(1, len(those) + 1)]
TRAININGS = [(lesson, len(those)) for lesson, those in EXERCISES.items()]  # the last of each
LAST = "## Exercises"


def answer_of(exercise: Exercise) -> Any:
    """What a reader who knows would type."""
    return exercise.solution if exercise.cases else exercise.solution()


def changed(exercise: Exercise, change: Callable[[np.ndarray], Any]) -> Any:
    """The right numbers, changed; of a function those that it returns, case by case."""
    if not exercise.cases:
        return change(known(exercise)[0])
    right = cycle(known(exercise))
    return lambda *_: change(next(right))


@pytest.mark.parametrize(("lesson", "number"), EVERY)
def test_an_exercise(lesson: str, number: int) -> None:
    exercise = exercises.look_up(lesson, number)
    assert judge(lesson, number, answer_of(exercise)).startswith(f"Exercise {number}: right.")
    assert exercise.hints and exercise.mistakes
    for mistake, sentence in exercise.mistakes:
        assert judge(lesson, number, mistake).endswith(sentence), f"{mistake} should be answered with {sentence!r}"
    for blank in (..., None, (lambda *_: ...) if exercise.cases else (..., 1.0)):
        assert "fill in the blank" in judge(lesson, number, blank)
    for sentence in (*exercise.hints, *(said for _, said in exercise.mistakes)):
        assert sentence[-1] in ".?" and len(sentence) < 140
    assert re.search(r"[.?)]$", exercise.question) and len(exercise.question) < 220


@pytest.mark.parametrize(("lesson", "number"), EVERY)
def test_a_question_names_the_form_and_the_unit_of_its_answer(lesson: str, number: int) -> None:
    exercise = exercises.look_up(lesson, number)
    what = "a function that returns .+" if exercise.cases else "(one|two|three) numbers?"
    assert re.fullmatch(rf"{what}(, | of |: )\S.*[^.]", exercise.form) and len(exercise.form) < 140
    if not exercise.cases:
        count = {"one number": (), "two numbers": (2,), "three numbers": (3,)}[re.split(",", exercise.form)[0]]
        assert [one.shape for one in known(exercise)] == [count]
    units = r"percent|%|share|probability|nats|unit|count|millions|points|loss|from -1 to 1|1, 0 or -1|True or False"
    assert re.search(units, exercise.form)


def in_pandas(answer: np.ndarray) -> Any:
    return pd.Series([answer])[0] if answer.ndim == 0 else (pd.Series if answer.ndim == 1 else pd.DataFrame)(answer)


FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "list": np.ndarray.tolist,
    "array": np.array,
    "single precision": np.float32,
    "tensor": torch.tensor,
    "tensor of a training": lambda answer: torch.tensor(answer).float().requires_grad_(),
    "pandas": in_pandas,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("lesson", "number"), EVERY)
def test_numbers_are_taken_in_whatever_holds_them(lesson: str, number: int, form: str) -> None:
    exercise = exercises.look_up(lesson, number)
    assert judge(lesson, number, changed(exercise, FORMS[form])).startswith(f"Exercise {number}: right.")


def test_tensors_of_other_kinds_are_taken() -> None:
    """In half precision, in a list, of truth values; and text that is a number."""
    assert judge("00", 1, torch.tensor(72.2, dtype=torch.bfloat16)) == "Exercise 1: right."
    assert judge("08", 1, [torch.zeros(()), torch.tensor(1 / 3, requires_grad=True)]) == "Exercise 1: right."
    mutual = exercises.look_up("09", 2).solution
    assert judge("09", 2, lambda *case: torch.tensor(mutual(*case))) == "Exercise 2: right."
    assert judge("00", 1, "72.2") == "Exercise 1: right."


@pytest.mark.parametrize(("lesson", "number"), [each for each in EVERY if exercises.look_up(*each).cases])
def test_a_function_that_spoils_its_arguments_spoils_nothing_else(lesson: str, number: int) -> None:
    """Neither its own next case nor the solution, and what it returned stays as it was when it returned it."""
    exercise = exercises.look_up(lesson, number)
    returned: list[np.ndarray] = []

    def spoiling(*case: Any) -> Any:
        for earlier in returned:
            earlier[...] = -1
        returned.append(exercises.numbers(exercise.solution(*case)))
        for argument in case:
            if isinstance(argument, np.ndarray):
                argument[...] = -1
            elif isinstance(argument, torch.Tensor):
                argument.detach()[...] = -1
        return returned[-1]

    before = deepcopy(exercise.cases)
    assert judge(lesson, number, spoiling).startswith(f"Exercise {number}: right.")
    assert len(returned) == len(exercise.cases)
    assert repr(exercise.cases) == repr(before) and same(exercises.values(exercise.solution, exercise), known(exercise))


@pytest.mark.parametrize(("lesson", "number"), [each for each in EVERY if not exercises.look_up(*each).score])
def test_a_factor_of_a_hundred_is_named(lesson: str, number: int) -> None:
    exercise = exercises.look_up(lesson, number)
    for factor, size in ((100, "large"), (0.01, "small")):
        said = judge(lesson, number, changed(exercise, lambda answer, f=factor: answer * f))  # type: ignore[misc]
        assert said == (
            f"Exercise {number}: not yet. This is a hundred times too {size}. The answer should be {exercise.form}."
        )
        if not exercise.cases:
            assert judge(lesson, number, torch.tensor(np.asarray(exercise.solution()) * factor)) == said


@pytest.mark.parametrize(("lesson", "number"), EVERY)
def test_the_right_numbers_in_another_form_are_told_so(lesson: str, number: int) -> None:
    exercise = exercises.look_up(lesson, number)
    for wrapped in (lambda answer: answer[None], lambda answer: torch.tensor(answer)[None]):
        said = judge(lesson, number, changed(exercise, wrapped))
        assert said.startswith(
            f"Exercise {number}: not yet. The numbers are right, their form is not. The answer should"
        )
        assert f"should be {exercise.form}; this has the shape (1," in said


def test_other_forms_are_named() -> None:
    number = "The answer should be one number, in percent"
    assert judge("00", 1, [1.0, 2.0]) == f"Exercise 1: not yet. {number}; this has the shape (2,)."
    assert judge("00", 1, "72.2 %") == f"Exercise 1: not yet. {number}; this is of type str."
    assert judge("00", 1, lambda: 72.2) == f"Exercise 1: not yet. {number}; this is of type function."
    rates = "The answer should be two numbers, shares from 0 to 1: FAR, FRR"
    assert judge("08", 1, 0.5) == f"Exercise 1: not yet. {rates}; this is one number."
    row = judge("00", 2, lambda x, y: np.sqrt(((y - x) ** 2).sum(1, keepdims=True)))
    assert "The numbers are right, their form is not" in row and row.endswith("this has the shape (2, 1).")
    assert judge("00", 2, lambda x, _: None if x.any() else x).endswith("this is None, so a `return` may be missing.")
    assert judge("00", 2, 33.3).endswith("in the unit of the vectors; this is of type float, no function.")
    assert judge("00", 2, lambda x, y: [[1, 2], [3]]).endswith("this is of type list.")  # noqa: ARG005


@pytest.mark.parametrize(("lesson", "number"), EVERY)
def test_other_answers_get_plainer_hints(lesson: str, number: int) -> None:
    exercise = exercises.look_up(lesson, number)
    other = changed(exercise, lambda answer: answer * 0 - 12345.0)
    said = [judge(lesson, number, other, tries) for tries in (0, 1, 2, 99)]
    for sentence, hint in zip(said, (exercise.hints * 2)[:2], strict=False):
        assert sentence.startswith(f"Exercise {number}: not yet.") and sentence.endswith(hint)
    assert said[2] == said[3] and said[3].endswith(exercise.hints[-1])


def test_check_counts_the_tries(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exercises, "TRIES", exercises.Counter())
    for answer in (7.0, 7.0, 7.0, 72.2):
        exercises.check("00", 1, answer)
    first, second, third, right = capsys.readouterr().out.splitlines()
    assert first != second == third and right == "Exercise 1: right."


def test_rounded_answers_are_right_and_near_ones_are_not() -> None:
    assert judge("00", 1, 72.22) == judge("00", 1, np.float32(72.2222)) == "Exercise 1: right."
    assert "not yet" in judge("00", 1, 74) and "not yet" in judge("00", 1, [72.2, 72.2])
    assert judge("08", 1, [0, 0.333]) == "Exercise 1: right." and "not yet" in judge("08", 1, (0.01, 0.333))


def test_a_function_that_fails_says_how() -> None:
    assert judge("00", 2, lambda x, y: y[:, 9] - x) == (
        "Exercise 2: it fails with IndexError: index 9 is out of bounds for axis 1 with size 2."
    )
    assert "takes 0 positional arguments" in judge("00", 2, lambda: 1.0)


# --- trainings ---


@pytest.mark.parametrize(("lesson", "number"), TRAININGS)
def test_a_lesson_trains_something_small(lesson: str, number: int) -> None:
    """In a moment, the same each time, by a loop that the reader sees; judged by what it reaches."""
    exercise = exercises.look_up(lesson, number)
    code = inspect.getsource(exercise.solution)
    assert ".backward()" in code or "train(" in code
    started = time.process_time()
    first, second = (exercises.values(exercise.solution, exercise) for _ in range(2))
    assert time.process_time() - started < 10 and all(map(np.array_equal, first, second))
    if exercise.score:
        assert reached(exercise) < 0.9 * exercise.at_most
        assert all(reached(exercise, number) > 1.3 * exercise.at_most for number in range(len(exercise.mistakes)))


def reached(exercise: Exercise, mistake: int | None = None) -> float:
    """The score of the solution, or of a mistake."""
    assert exercise.score
    return max(exercise.score(one, *case) for one, case in zip(known(exercise, mistake), exercise.cases, strict=True))


def test_a_training_says_what_it_reaches() -> None:
    exercise = exercises.look_up("03", 3)
    right = judge("03", 3, exercise.solution)
    assert re.fullmatch(r"Exercise 3: right\. It reaches 0\.\d+, and at most 0\.15 is asked\.", right)
    untrained = judge("03", 3, lambda x, triplets, start: start)  # noqa: ARG005
    assert re.match(
        r"Exercise 3: not yet\. It reaches 0\.\d+, and at most 0\.15 is asked\. The margin, plus", untrained
    )
    lost = judge("03", 3, lambda x, triplets, start: start * torch.nan)  # noqa: ARG005
    assert "It reaches nan, and at most" in lost


def test_another_way_to_train_is_right_too() -> None:
    """What counts is what is reached, not how."""

    def softly(x: torch.Tensor, triplets: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
        def loss(weight: torch.Tensor) -> torch.Tensor:
            a, p, n = (x @ weight)[triplets].unbind(1)
            return torch.nn.functional.softplus(((a - p) ** 2).sum(1) - ((a - n) ** 2).sum(1)).mean()

        return exercises.descend(loss, start, 0.02, 400)

    assert "right." in judge("03", 3, softly)
    assert "right." in judge("01", 3, lambda y: y.mean())


# --- where they stand ---


def test_no_such_exercise() -> None:
    for lesson, number in (("77", 1), ("00", 0), ("00", 9)):
        with pytest.raises(InputError, match="00 has 3"):
            judge(lesson, number, 1)


def test_without_their_files_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(course, "home", lambda: tmp_path)
    with pytest.raises(InputError, match=r"there are no exercises in .*: run the lessons in a clone"):
        exercises.check("00", 1, 72.2)


def test_solutions_print_as_code_that_runs(capsys: pytest.CaptureFixture[str]) -> None:
    for lesson, number in EVERY:
        exercises.solve(lesson, number)
        text = capsys.readouterr().out
        assert text.startswith("def ") and "@exercise" not in text
        room: dict = {"np": np, "torch": torch, "Callable": Callable}
        before = set(room)
        exec(compile(text, "solution", "exec"), room)
        own = next(value for name, value in room.items() if name not in before | {"__builtins__"})
        exercise = exercises.look_up(lesson, number)
        assert same(exercises.values(own if exercise.cases else own(), exercise), known(exercise))


def functions(code: str) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.FunctionDef)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_lesson_ends_with_its_exercises(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The notebook asks the questions in order and in these words; its blanks stay open without an error."""
    lesson = path.name[:2]
    assert len(EXERCISES[lesson]) >= 3
    cells = nbformat.read(path, 4).cells
    starts = [i for i, cell in enumerate(cells) if cell.source.startswith(LAST)]
    questions = [cell.source for cell in cells if cell.source.startswith("## Quick questions")]
    assert len(starts) == len(questions) == 1
    assert (
        2 <= len(re.findall(r"^\d\. ", questions[0].split("<details>")[0], re.M)) <= 4 and "</details>" in questions[0]
    )
    last = cells[starts[0] :]
    assert not any(cell.source.startswith("## ") for cell in last[1:])
    prose = "\n".join(cell.source for cell in last if cell.cell_type == "markdown")
    code = [cell.source for cell in last if cell.cell_type == "code"]
    for number, exercise in enumerate(EXERCISES[lesson], 1):
        assert f"**{number}.** {exercise.question} *Give {exercise.form}.*" in prose
        assert f'exercises.check("{lesson}", {number}, ' in code[number - 1]
        asked = [node.args for node in functions(code[number - 1])]
        given = inspect.signature(exercise.solution).parameters if exercise.cases else None
        assert [[argument.arg for argument in one.args] for one in asked] == ([] if given is None else [list(given)])
    assert len(code) == len(EXERCISES[lesson])
    room: dict = {}
    exec("import numpy as np\nfrom reidkit.course import exercises", room)
    for cell in code:
        exec(compile(cell, path.name, "exec"), room)
    assert capsys.readouterr().out.count("fill in the blank") == len(code)


@pytest.mark.parametrize(("lesson", "number"), TRAININGS)
def test_the_blanks_of_a_training_are_lines_of_its_solution(lesson: str, number: int) -> None:
    """The cell is the solution with something left out: whoever fills its blanks has it."""
    path = next(path for path in NOTEBOOKS if path.name.startswith(lesson))
    cell = next(c.source for c in nbformat.read(path, 4).cells if f'check("{lesson}", {number}' in c.source)
    (asked,), (solution,) = functions(cell), functions(inspect.getsource(exercises.look_up(lesson, number).solution))
    left, right = (ast.unparse(node.body).splitlines() for node in (asked, solution))  # type: ignore[arg-type]
    assert any(line.endswith("= ...") for line in left)
    for line, whole in zip(left, right[1:], strict=True):  # the solution has a docstring
        assert line == whole or (line.endswith(" = ...") and whole.startswith(line.removesuffix("...")))

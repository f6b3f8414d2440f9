"""Exercises: each solution passes its own check, each usual mistake gets its sentence, each notebook asks them all."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import numpy as np
import pytest

from reidkit import course
from reidkit.course import exercises
from reidkit.course.exercises import Exercise, judge, solved
from reidkit.errors import InputError

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
EXERCISES = exercises.by_lesson()
EVERY = [(lesson, number) for lesson, those in EXERCISES.items() for number in range(1, len(those) + 1)]
LAST = "## Exercises"


def answer_of(exercise: Exercise) -> object:
    """What a reader who knows would type."""
    return exercise.solution if exercise.cases else exercise.solution()


@pytest.mark.parametrize(("lesson", "number"), EVERY)
def test_an_exercise(lesson: str, number: int) -> None:
    exercise = exercises.look_up(lesson, number)
    assert judge(lesson, number, answer_of(exercise)) == f"Exercise {number}: right."
    assert exercise.hints and exercise.mistakes
    for mistake, sentence in exercise.mistakes:
        assert judge(lesson, number, mistake).endswith(sentence), f"{mistake} should be answered with {sentence!r}"
    for blank in (..., None, (lambda *_: ...) if exercise.cases else (..., 1.0)):
        assert "fill in the blank" in judge(lesson, number, blank)
    for sentence in (exercise.question, *exercise.hints, *(said for _, said in exercise.mistakes)):
        assert sentence[-1] in ".?" and len(sentence) < 140


@pytest.mark.parametrize(("lesson", "number"), EVERY)
def test_other_answers_get_plainer_hints(lesson: str, number: int) -> None:
    exercise = exercises.look_up(lesson, number)
    said = [judge(lesson, number, -12345.0, tries) for tries in (0, 1, 2, 99)]
    assert [sentence.split("not yet. ")[1] for sentence in said[:2]] == list((exercise.hints * 2)[:2])
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
    assert "not yet" in judge("00", 1, "72.2 %")


def test_a_function_that_fails_says_how() -> None:
    assert judge("00", 2, lambda match: match[:, 9]) == (
        "Exercise 2: it fails with IndexError: index 9 is out of bounds for axis 1 with size 2."
    )
    assert "takes 0 positional arguments" in judge("00", 2, lambda: 1.0)
    assert "not yet" in judge("00", 2, 33.3)  # a number where a function is asked for


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
        room: dict = {"np": np}
        exec(compile(text, "solution", "exec"), room)
        own = next(value for name, value in room.items() if name not in ("np", "__builtins__"))
        exercise = exercises.look_up(lesson, number)
        given = exercises.values(own if exercise.cases else own(), exercise.cases)
        assert exercises.same(given, solved(exercise))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_lesson_ends_with_its_exercises(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The notebook asks the questions in order and in these words; its blanks stay open without an error."""
    lesson = path.name[:2]
    if lesson not in EXERCISES:
        pytest.skip("this lesson has no exercises yet")
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
        assert f"**{number}.** {exercise.question}" in prose
        assert f'exercises.check("{lesson}", {number}, ' in code[number - 1]
    assert len(code) == len(EXERCISES[lesson])
    room: dict = {}
    exec("import numpy as np\nfrom reidkit.course import exercises", room)
    for cell in code:
        exec(compile(cell, path.name, "exec"), room)
    assert capsys.readouterr().out.count("fill in the blank") == len(code)

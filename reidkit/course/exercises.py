"""The exercises of the lessons: asks, compares, hints. Their content stands in notebooks/exercises, a file a lesson.

A notebook repeats the question, leaves a blank, and asks `check("04", 1, answer)`. An answer is a number or several,
or a function; a function is tried on a few cases and compared with the solution's answers there.
"""

from __future__ import annotations

import inspect
import runpy
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import dropwhile
from pathlib import Path
from typing import Any

import numpy as np

from .. import course
from ..errors import InputError


@dataclass(frozen=True)
class Exercise:
    """One question, its solution, and what to say to other answers."""

    question: str
    solution: Callable[..., Any]  # gives the answer; with `cases` it is the answer
    hints: tuple[str, ...]  # one more with every try, the plainest last
    mistakes: tuple[tuple[Any, str], ...]  # usual wrong answers, and what each forgets
    cases: tuple[tuple[Any, ...], ...]  # arguments to try a function with


TRIES: Counter[tuple[str, int]] = Counter()


def exercise(
    question: str, *hints: str, mistakes: tuple[tuple[Any, str], ...] = (), cases: tuple[tuple[Any, ...], ...] = ()
) -> Callable[[Callable[..., Any]], Exercise]:
    """Make the function below, in a file of notebooks/exercises, the solution of its lesson's next exercise."""
    return lambda solution: Exercise(question, solution, hints, mistakes, cases)


def by_lesson() -> dict[str, list[Exercise]]:
    """Every exercise in order, by the number of its lesson.

    Raises:
        InputError: the files are not there.
    """
    return _in_folder(course.home() / "notebooks" / "exercises")


@cache
def _in_folder(folder: Path) -> dict[str, list[Exercise]]:
    files = sorted(folder.glob("[0-9][0-9].py"))
    if not files:
        raise InputError(f"there are no exercises in {folder}: run the lessons in a clone of the repository.")
    return {
        path.stem: [value for value in runpy.run_path(str(path)).values() if isinstance(value, Exercise)]
        for path in files
    }


def look_up(lesson: str, number: int) -> Exercise:
    """An exercise by lesson and number, from 1; InputError where there is none."""
    every = by_lesson()
    if not 1 <= number <= len(every.get(lesson, [])):
        counts = ", ".join(f"{name} has {len(those)}" for name, those in every.items())
        raise InputError(f"lesson {lesson!r} has no exercise {number}: {counts}.")
    return every[lesson][number - 1]


def check(lesson: str, number: int, answer: Any) -> None:
    """Print whether an answer is right, or a hint; a second wrong answer gets a plainer one.

    Args:
        lesson: its two digits, "04".
        number: of the exercise, from 1.
        answer: numbers or a function; `...` and None are blanks.
    Raises:
        InputError: no such exercise.
    """
    print(judge(lesson, number, answer, TRIES[lesson, number]))
    TRIES[lesson, number] += 1


def solve(lesson: str, number: int) -> None:
    """Print a solution: the code that the tests run."""
    lines = inspect.getsource(look_up(lesson, number).solution).splitlines()
    print("\n".join(dropwhile(lambda line: not line.startswith("def "), lines)))


def judge(lesson: str, number: int, answer: Any, tries: int = 0) -> str:
    """What `check` prints; `tries` wrong answers came before this one."""
    exercise, name = look_up(lesson, number), f"Exercise {number}"
    try:
        given = values(answer, exercise.cases)
    except Exception as error:  # whatever a reader's own function does
        return f"{name}: it fails with {type(error).__name__}: {error}."
    if any(value is ... or value is None for value in given):
        return f"{name}: fill in the blank (...), then run this cell again."
    if same(given, solved(exercise)):
        return f"{name}: right."
    for mistake, sentence in exercise.mistakes:
        if same(given, values(mistake, exercise.cases)):
            return f"{name}: not yet. {sentence}"
    return f"{name}: not yet. {exercise.hints[min(tries, len(exercise.hints) - 1)]}"


def solved(exercise: Exercise) -> list[Any]:
    """The right answers."""
    return values(exercise.solution if exercise.cases else exercise.solution(), exercise.cases)


def values(answer: Any, cases: tuple[tuple[Any, ...], ...]) -> list[Any]:
    """An answer as a list to compare: what a function gives for every case, or the numbers themselves."""
    if not cases:
        return list(answer) if isinstance(answer, tuple | list) else [answer]
    return [answer(*case) for case in cases] if callable(answer) else [answer] * len(cases)


def same(given: list[Any], right: list[Any]) -> bool:
    """Whether all numbers agree to one part in a hundred, so that a rounded answer is right too."""
    try:
        pairs = [(np.asarray(one, float), np.asarray(other, float)) for one, other in zip(given, right, strict=True)]
    except (TypeError, ValueError):  # no numbers, or not as many
        return False
    return all(one.shape == other.shape and np.allclose(one, other, rtol=0.01, atol=1e-6) for one, other in pairs)

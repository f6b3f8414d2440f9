"""The exercises of the lessons: asks, compares, hints. Their content stands in notebooks/exercises, a file a lesson.

A notebook repeats the question, leaves a blank, and asks `check("04", 1, answer)`. An answer is a number, several, or a
function; numbers may come in lists, as numpy arrays, torch tensors or pandas objects. A function is tried on a few
cases and compared with what the solution gives there. A training is judged by what it has reached.
"""

from __future__ import annotations

import inspect
import runpy
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from itertools import dropwhile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import course
from ..errors import InputError


@dataclass(frozen=True, eq=False)
class Exercise:
    """One question, its solution, and what to say to other answers."""

    question: str
    form: str  # what the answer is and in which unit: "one number, in percent"
    solution: Callable[..., Any]  # gives the answer; with `cases` it is the answer
    hints: tuple[str, ...]  # one more with every try, the plainest last
    mistakes: tuple[tuple[Any, str], ...] = ()  # usual wrong answers, and what each forgets
    cases: tuple[tuple[Any, ...], ...] = ()  # arguments to try a function with
    score: Callable[..., float] | None = None  # how bad it is what a training returns; called with it and the case
    at_most: float = 0.0  # the score that is good enough


class NoNumbers(Exception):
    """Says what an answer is instead of numbers."""


TRIES: Counter[tuple[str, int]] = Counter()


def exercise(question: str, form: str, *hints: str, **about: Any) -> Callable[[Callable[..., Any]], Exercise]:
    """Make the function below, in a file of notebooks/exercises, the solution of its lesson's next exercise."""
    return lambda solution: Exercise(question, form, solution, hints, **about)


def descend(loss: Callable[[torch.Tensor], torch.Tensor], start: torch.Tensor, rate: float, steps: int) -> torch.Tensor:
    """Where gradient descent ends, as the trainings of the exercises do it; for those that make a mistake."""
    weight = start.clone().requires_grad_()
    for _ in range(steps):
        weight.data -= rate * torch.autograd.grad(loss(weight), weight)[0]
    return weight


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
    exercise = look_up(lesson, number)
    try:
        said = reply(exercise, values(answer, exercise), tries)
    except Exception as error:  # whatever a reader's own function does
        if answer is None or "ellipsis" in str(error):  # Python's name of the blank, reckoned with or handed on
            said = "fill in the blank (...), then run this cell again."
        elif isinstance(error, NoNumbers):
            said = f"not yet. The answer should be {exercise.form}; this is {error}."
        else:
            said = f"it fails with {type(error).__name__}: {error}."
    return f"Exercise {number}: {said}"


def reply(exercise: Exercise, given: list[np.ndarray], tries: int) -> str:
    """What is said to an answer: right, which mistake it is, what is wrong with its form or unit, or a hint."""
    right, form, goal = known(exercise), f"The answer should be {exercise.form}", ""
    shapes = [one.shape for one, other in zip(given, right, strict=True) if one.shape != other.shape]
    passed = same(given, right)
    if exercise.score and not shapes:
        error = max(exercise.score(one, *deepcopy(case)) for one, case in zip(given, exercise.cases, strict=True))
        goal = f" It reaches {error:.3g}, and at most {exercise.at_most:g} is asked."
        passed = error <= exercise.at_most
    if passed:
        return f"right.{goal}"
    for number, (_, sentence) in enumerate(exercise.mistakes):
        if same(given, known(exercise, number)):
            return f"not yet.{goal} {sentence}"
    if shapes:
        flat = [[one.ravel() for one in every] for every in (given, right)]
        these = "The numbers are right, their form is not. " if same(*flat) else ""
        return f"not yet. {these}{form}; this {f'has the shape {shapes[0]}' if shapes[0] else 'is one number'}."
    for factor, size in ((100, "small"), (0.01, "large")):
        if same([factor * one for one in given], right) and not exercise.score:
            return f"not yet. This is a hundred times too {size}. {form}."
    return f"not yet.{goal} {exercise.hints[min(tries, len(exercise.hints) - 1)]}"


@cache
def known(exercise: Exercise, mistake: int | None = None) -> list[np.ndarray]:
    """What the solution gives, or a usual mistake."""
    if mistake is not None:
        return values(exercise.mistakes[mistake][0], exercise)
    return values(exercise.solution if exercise.cases else exercise.solution(), exercise)


def values(answer: Any, exercise: Exercise) -> list[np.ndarray]:
    """An answer as arrays to compare: what a function gives for a copy of every case, or the one answer.

    Raises:
        NoNumbers: it gives something else.
    """
    if not exercise.cases:
        return [numbers(answer)]
    if not callable(answer):
        raise NoNumbers(f"of type {type(answer).__name__}, no function")
    return [numbers(answer(*deepcopy(case))) for case in exercise.cases]


def numbers(answer: Any) -> np.ndarray:
    """The numbers of whatever holds some, in an array of its own.

    Raises:
        NoNumbers: it holds none.
    """
    if isinstance(answer, torch.Tensor):
        answer = answer.detach().cpu().double().numpy()
    elif isinstance(answer, list | tuple):
        answer = [numbers(one) for one in answer]
    elif answer is None:
        raise NoNumbers("None, so a `return` may be missing")
    try:
        return np.array(answer, float)
    except (TypeError, ValueError):
        raise NoNumbers(f"of type {type(answer).__name__}") from None


def same(given: list[np.ndarray], right: list[np.ndarray]) -> bool:
    """Whether all numbers agree to one part in a hundred, so that a rounded answer is right too."""
    return all(
        one.shape == other.shape and np.allclose(one, other, rtol=0.01, atol=1e-6)
        for one, other in zip(given, right, strict=True)
    )

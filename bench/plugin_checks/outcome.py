"""Outcomes of contract checks, and the errors by which a check says that it failed or does not apply."""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

import numpy as np
import torch

from bench.core.errors import BenchError, Incompatible


class Complaint(Exception):
    """A property that a plug-in must have and does not: what it does, what is expected."""


class NotApplicable(Exception):
    """A check has nothing to measure here, and why."""


class Outcome(NamedTuple):
    """The outcome of one check.

    Attributes:
        check: what was checked.
        where: on which model or samples; empty where there is one kind only.
        state: "ok", "failed", or "skipped" where the check does not apply.
        detail: why it failed or was skipped; empty for "ok".
    """

    check: str
    where: str
    state: Literal["ok", "failed", "skipped"]
    detail: str = ""


def require(fulfilled: bool, sentence: str) -> None:
    """Raise a complaint unless a condition is fulfilled.

    Raises:
        Complaint: it is not.

    >>> require(1 + 1 == 2, "arithmetic must hold")
    """
    if not fulfilled:
        raise Complaint(sentence)


def run_check(check: str, where: str, function: Callable[[], None]) -> Outcome:
    """Return the outcome of a check; any exception of the plug-in is a failure with its file and line.

    >>> run_check("sums", "mixture", lambda: require(1 + 1 == 3, "1 + 1 must be 3, got 2"))
    Outcome(check='sums', where='mixture', state='failed', detail='1 + 1 must be 3, got 2')
    """
    try:
        function()
    except NotApplicable as error:
        return Outcome(check, where, "skipped", str(error))
    except Complaint as error:
        return Outcome(check, where, "failed", str(error))
    except Incompatible as error:
        return Outcome(check, where, "skipped", f"does not apply: {error}")
    except BenchError as error:
        return Outcome(check, where, "failed", str(error))
    except Exception as error:  # noqa: BLE001 -- a plug-in may raise anything
        frame = traceback.extract_tb(error.__traceback__)[-1]
        text = " ".join(str(error).split())
        detail = f"{type(error).__name__}: {text} ({frame.filename}, line {frame.lineno})"
        return Outcome(check, where, "failed", detail)
    return Outcome(check, where, "ok")


@contextmanager
def global_generators_unused(called: str) -> Iterator[None]:
    """Seed the global generators of PyTorch, NumPy and Python, and complain if what runs within draws from one.

    The states of before are restored.

    Args:
        called: what runs within, for the sentence.

    Raises:
        Complaint: with the generator's name.
    """
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        torch.manual_seed(20_000)
        np.random.seed(20_000)  # noqa: NPY002
        random.seed(20_000)
        seeded = torch.get_rng_state(), _numpy_state(), random.getstate()
        yield
        unused = {
            "PyTorch": torch.equal(torch.get_rng_state(), seeded[0]),
            "NumPy": _numpy_state() == seeded[1],
            "Python": random.getstate() == seeded[2],
        }
    finally:
        torch.set_rng_state(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        random.setstate(before[2])
    drawn = [name for name, is_unused in unused.items() if not is_unused]
    require(
        not drawn,
        f"{called} must leave the global generators as they are, but draws from or seeds that of "
        f"{' and '.join(drawn)}; make one from the seed: torch.Generator().manual_seed(...), "
        "numpy.random.default_rng(...)",
    )


def _numpy_state() -> tuple[bytes, int]:
    state = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
    return state["key"].tobytes(), int(state["pos"])

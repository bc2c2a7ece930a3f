"""The boundary between the engine and a method: the task that it gets, and checks of what it returns, in every run."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.core.attributes import product
from bench.core.errors import ConfigError
from bench.protocols.method import Batch, Classifier, Cost, Curves, Guided, GuidedDenoiser, Method, Need, Task

# Fields of a task to the needs that give them; the store keeps samples under what is declared, and under nothing else.
BY_TASK: tuple[Need, ...] = ("target", "conditions", "classifier")
GIVEN_BY: Mapping[str, tuple[Need, ...]] = {
    "target": ("target",),
    "attributes": BY_TASK,
    "classifier": ("classifier",),
    "labelled": ("labelled",),
    "observed": ("observed",),
    "unbiased": ("unbiased",),
}


Classes = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False, repr=False)
class DeclaredTask(Task):
    """A task that withholds what its method does not declare.

    Attributes:
        method: public name of the method.
        withheld: names of the fields that it must not read.
    """

    method: str = ""
    withheld: frozenset[str] = frozenset()

    def __getattribute__(self, name: str) -> object:
        """Return a field.

        Raises:
            ConfigError: the method does not declare that it needs it.
        """
        if name in GIVEN_BY and name in object.__getattribute__(self, "withheld"):
            needs = " or ".join(f'"{need}"' for need in GIVEN_BY[name])
            raise ConfigError(
                f"method {object.__getattribute__(self, 'method')} reads task.{name} without declaring it, so its "
                f"samples would be shared with other tasks and settings; add {needs} to the needs of its traits"
            )
        return object.__getattribute__(self, name)


def declared_task(name: str, method: Method, task: Task) -> Task:
    """Return a task for a method: it withholds what the method does not declare, and other classifiers than its own.

    Args:
        name: the method's public name.
        method: the method with its fields.
        task: everything that the suite offers.
    """
    needs = method.traits.needs
    fields = {field.name: getattr(task, field.name) for field in dataclasses.fields(Task)}
    if task.classifier is not None and "classifier" in needs:
        fields["classifier"] = _declared_classifier(name, getattr(method, "classifier", None), task.classifier)
    withheld = frozenset(field for field, by in GIVEN_BY.items() if not needs & {*by})
    return DeclaredTask(**fields, method=name, withheld=withheld)


def _declared_classifier(
    name: str, declared: object, classifier: Callable[[str], Classifier]
) -> Callable[[str], Classifier]:
    def checked(requested: str) -> Classifier:
        if requested != declared:
            raise ConfigError(
                f"method {name} asks for the classifier {requested!r}, expected that of its field `classifier`, "
                f"{declared!r}: its samples are stored under that one"
            )
        return classifier(requested)

    return checked


def build_checked(name: str, method: Method, task: Task, seed: int) -> Guided:
    """Build a method on a task, and return its guided denoiser with a check around every call; no number changes.

    Args:
        name: the method's public name, for errors.
        method: the method with its fields.
        task: everything that the suite offers; see `declared_task`.
        seed: of the method.

    Raises:
        Incompatible: the task lacks something that the method needs.
        ConfigError: the method reads what it does not declare, draws from a global generator, or returns something
            that sampling cannot use. So do the calls of the result: a prediction or assigned classes of the wrong
            kind, or a change of the batch.
    """
    before = GlobalGenerators.now(task.model.device)
    guided = method.build(declared_task(name, method, task), seed)
    before.check(name, "build", task.model.device)
    _check_guided(name, guided)
    assigned_classes = guided.assigned_classes
    if assigned_classes is not None:
        if not method.traits.needs & {*BY_TASK}:
            needs = " or ".join(f'"{need}"' for need in BY_TASK)
            raise ConfigError(
                f"method {name} assigns classes, and must declare {needs} among its needs, got none of them"
            )
        assigned_classes = _checked_classes(name, assigned_classes, product(task.attributes).n_classes)
    return dataclasses.replace(
        guided,
        denoise=_checked_denoiser(name, guided.denoise),
        assigned_classes=assigned_classes,
        select=None if guided.select is None else _checked_select(name, guided.select),
    )


@dataclass(frozen=True)
class GlobalGenerators:
    """The states of the global generators of PyTorch (CPU and one accelerator), NumPy and Python."""

    of_torch: tuple[Tensor, ...]
    of_numpy: tuple[object, ...]
    of_python: tuple[object, ...]

    @classmethod
    def now(cls, device: torch.device) -> GlobalGenerators:
        """Return the states of this moment."""
        states = [torch.get_rng_state()]
        if device.type == "cuda":
            states.append(torch.cuda.get_rng_state(device))
        name, key, *position = np.random.get_state()  # noqa: NPY002 -- the generator that nothing may use
        return cls(tuple(states), (name, np.asarray(key).tobytes(), *position), random.getstate())

    def check(self, name: str, call: str, device: torch.device) -> None:
        """Refuse a method that has drawn from one of them since, or has seeded it.

        Raises:
            ConfigError: it has.
        """
        now = GlobalGenerators.now(device)
        same = {
            "PyTorch": all(torch.equal(a, b) for a, b in zip(self.of_torch, now.of_torch, strict=True)),
            "NumPy": self.of_numpy == now.of_numpy,
            "Python": self.of_python == now.of_python,
        }
        for library, unchanged in same.items():
            if not unchanged:
                raise ConfigError(
                    f"method {name} changed the global generator of {library} in `{call}`, expected to leave it alone: "
                    "its samples would depend on what ran before; draw from a generator of the seed that `build` gets"
                )


def _wrong(name: str, returned: str, expected: str) -> ConfigError:
    return ConfigError(f"method {name} returned {returned}, expected {expected}")


def _kind(value: object) -> str:
    """Return the type of a value; of an array, its type of number and shape."""
    if isinstance(value, Tensor | np.ndarray):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    return type(value).__name__


def _check_guided(name: str, guided: object) -> None:
    """Refuse a result of `build` that sampling or the run's records cannot use."""
    if not isinstance(guided, Guided):
        raise _wrong(name, f"{_kind(guided)} from `build`", "a Guided")
    if not callable(guided.denoise):
        raise _wrong(name, f"{_kind(guided.denoise)} as `denoise`", "a function of (x, t, batch)")
    if not (guided.assigned_classes is None or callable(guided.assigned_classes)):
        raise _wrong(name, f"{_kind(guided.assigned_classes)} as `assigned_classes`", "a function of numbers, or None")
    if type(guided.repeats) is not int or guided.repeats < 1:
        raise _wrong(name, f"{guided.repeats!r:.40} as `repeats`", "a whole number of at least 1")
    if type(guided.candidates) is not int or guided.candidates < 1:
        raise _wrong(name, f"{guided.candidates!r:.40} as `candidates`", "a whole number of at least 1")
    if callable(guided.select) != (guided.candidates > 1):
        raise _wrong(
            name,
            f"{_kind(guided.select)} as `select` with {guided.candidates} candidates",
            "a function of the candidates where there are several, else None",
        )
    if not isinstance(guided.cost, Cost) or not all(
        math.isfinite(number) and number >= 0 for number in dataclasses.astuple(guided.cost)
    ):
        raise _wrong(name, f"{guided.cost!r:.80} as `cost`", "a Cost of finite numbers >= 0")
    if not all(isinstance(curves, Curves) for curves in guided.curves):
        raise _wrong(name, f"{guided.curves!r:.80} as `curves`", "a tuple of Curves")
    try:
        json.dumps(dict(guided.notes or {}), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise _wrong(
            name, f"`notes` that JSON cannot hold ({error})", "texts, finite numbers, lists and mappings"
        ) from error


def _checked_denoiser(name: str, denoise: GuidedDenoiser) -> GuidedDenoiser:
    """Return the denoiser with a check of every prediction. The copies that it compares with cost less than a layer."""

    def checked(x: Tensor, t: int, batch: Batch) -> Tensor:
        inputs = {"x": x, "batch.index": batch.index, "batch.condition": batch.condition}
        copies = {label: rows.clone() for label, rows in inputs.items()}
        before = GlobalGenerators.now(x.device)
        denoised: object = denoise(x, t, batch)
        expected = f"{_kind(x)}, as x is, on {x.device}"
        if not isinstance(denoised, Tensor) or denoised.shape != x.shape or not denoised.dtype.is_floating_point:
            raise _wrong(name, f"{_kind(denoised)} from the denoiser at timestep {t}", expected)
        if denoised.device != x.device:
            raise _wrong(name, f"a prediction on {denoised.device} at timestep {t}", expected)
        for label, rows in inputs.items():
            if not _same(rows, copies[label]):
                raise ConfigError(
                    f"method {name} wrote into {label} in the denoiser at timestep {t}, expected to leave it as it is; "
                    "work on a copy"
                )
        before.check(name, "denoise", x.device)
        return denoised

    return checked


def _checked_select(name: str, select: Callable[[Tensor], Classes]) -> Callable[[Tensor], Classes]:
    """Return the selection with a check of the rows."""

    def checked(pool: Tensor) -> Classes:
        rows: object = select(pool.clone())
        n, most = pool.shape[1], pool.shape[0] * pool.shape[1]
        expected = f"int64 [{n}], distinct rows from 0 to {most - 1}"
        if not isinstance(rows, np.ndarray) or rows.shape != (n,) or rows.dtype.kind not in "iu":
            raise _wrong(name, f"{_kind(rows)} as selected rows", expected)
        if len(np.unique(rows)) < n or rows.min() < 0 or rows.max() >= most:
            raise _wrong(name, f"rows {rows[:5].tolist()}, ... as selected", expected)
        return rows.astype(np.int64)

    return checked


def _same(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors are equal, NaN being equal to NaN."""
    return torch.equal(a, b) or torch.allclose(a, b, rtol=0.0, atol=0.0, equal_nan=True)


def _checked_classes(
    name: str, assigned_classes: Callable[[Classes], Classes], n_classes: int
) -> Callable[[Classes], Classes]:
    """Return the assigned classes with a check of their number, type and range."""

    def checked(index: Classes) -> Classes:
        classes: object = assigned_classes(index.copy())
        expected = f"int64 [{len(index)}], from 0 to {n_classes - 1}, or -1 for a sample without a class"
        if not isinstance(classes, np.ndarray) or classes.shape != index.shape or classes.dtype.kind not in "iu":
            raise _wrong(name, f"{_kind(classes)} as assigned classes", expected)
        outside = classes[(classes < -1) | (classes >= n_classes)]
        if outside.size:
            raise _wrong(name, f"the assigned class {int(outside[0])}", expected)
        return classes

    return checked

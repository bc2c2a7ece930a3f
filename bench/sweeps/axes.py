"""The axes of a sweep, parsed from the command line: NAME=VALUE,VALUE,... or NAME=LOW..HIGH."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import yaml

from bench.core.errors import ConfigError
from bench.report.tradeoff.points import Setting

RANGE = re.compile(r"(?P<low>[^,/\[\]{}]*?)\.\.(?P<high>[^,/\[\]{}]*?)(?P<log>:log)?")


@dataclass(frozen=True)
class Values:
    """Values to try, at least one, all different."""

    name: str
    values: tuple[Setting, ...]


@dataclass(frozen=True)
class Range:
    """A range to search, both ends included, low < high.

    Attributes:
        name: the field's name.
        low: lower end; > 0 if `log`.
        high: upper end.
        log: whether the first suggestions are uniform in the logarithm of the value.
    """

    name: str
    low: float
    high: float
    log: bool

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}" + (":log" if self.log else "")


Axis = Values | Range


def texts_of(option: str, texts: Sequence[str]) -> dict[str, str]:
    """Split the texts of an option that may be repeated, NAME=VALUES, into names and values.

    Args:
        option: the option's name, for error messages.
        texts: such as "strength=50,100", "window=[0,1],[0.4,1]" (values as in a YAML list) or "strength=10..300:log".

    Raises:
        ConfigError: a name is missing or occurs twice.
    """
    values_of: dict[str, str] = {}
    for text in texts:
        name, equals, values = (piece.strip() for piece in text.partition("="))
        if not equals or not name:
            raise ConfigError(f"{option} must be NAME=VALUES, got {text!r}; for example {option} {_example(option)}")
        if name in values_of:
            raise ConfigError(f"{option} {name} is set twice; list all its values in one")
        values_of[name] = values
    return values_of


def axes_of(option: str, values_of: Mapping[str, str | Sequence[Setting]]) -> list[Axis]:
    """Return axes from names and their values: a sequence, or a text as on the command line, such as "10..300:log".

    Args:
        option: name of the option on the command line, for the sentences.
        values_of: name of the axis to its values.

    Raises:
        ConfigError: values are missing, a value occurs twice, or a range is invalid.
    """
    return [axis_of(f"{option} {name}", name, values) for name, values in values_of.items()]


def axis_of(option: str, name: str, values: str | Sequence[Setting]) -> Axis:
    """Return one axis from its values.

    Raises:
        ConfigError: as `axes_of`.
    """
    if isinstance(values, str):
        return read_axis(option, name, values)
    return Values(name, _different(option, values))


def values_alone(axes: Sequence[Axis], why: str) -> list[Values]:
    """Return the axes if none is a range.

    Args:
        axes: of one option.
        why: advice for the error message.

    Raises:
        ConfigError: an axis is a range.
    """
    for axis in axes:
        if isinstance(axis, Range):
            raise ConfigError(f"{axis.name} must be values separated by commas, got the range {axis}; {why}")
    return [axis for axis in axes if isinstance(axis, Values)]


def read_axis(option: str, name: str, text: str) -> Axis:
    """Parse the text after an axis's name.

    Raises:
        ConfigError: as `axes_of`.
    """
    ends = RANGE.fullmatch(text)
    return _range(option, name, text, ends) if ends else Values(name, _values(option, text))


def _values(option: str, text: str) -> tuple[Setting, ...]:
    try:
        values = yaml.safe_load(f"[{text}]")
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ConfigError(
            f"{option} must give values separated by commas, as in a YAML list, got {text!r:.80}"
        ) from None
    if not isinstance(values, list) or not values:
        raise ConfigError(f"{option} must give at least one value, got {text!r:.80}")
    return _different(option, values)


def _different(option: str, values: Sequence[Setting]) -> tuple[Setting, ...]:
    if not values:
        raise ConfigError(f"{option} must give at least one value, got {list(values)}")
    for i, value in enumerate(values):
        if value in values[:i]:
            raise ConfigError(f"{option} lists {value!r} twice; remove one")
    return tuple(values)


def _range(option: str, name: str, text: str, ends: re.Match[str]) -> Range:
    try:
        low, high = float(ends["low"]), float(ends["high"])
    except ValueError:
        low = high = math.nan
    log = ends["log"] is not None
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ConfigError(f"{option} must be two numbers, LOW..HIGH or LOW..HIGH:log, got {text!r:.80}")
    if low >= high or (log and low <= 0):
        must = "0 < LOW < HIGH" if log else "LOW < HIGH"
        raise ConfigError(f"{option} must have {must}, got {text!r:.80}")
    return Range(name, low, high, log)


def _example(option: str) -> str:
    return "steps=10,25" if option == "--sampler" else "strength=50,100"

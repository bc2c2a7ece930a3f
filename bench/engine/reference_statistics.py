"""References of which a suite has the Gaussian fit alone, as a file: found, checked, and read by workers."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.digest import file_digest
from bench.core.errors import ConfigError

if TYPE_CHECKING:
    from bench.config.components import ExtractorSpec
    from bench.config.suite import Suite
    from bench.core.gaussian import Gaussian


@dataclass(frozen=True)
class GivenStatistics:
    """A file of statistics that was checked; it travels between processes.

    Attributes:
        name: the reference's name, a scope of the tables.
        features: title of the extractor whose features they are of.
        file: where they are.
        digest: hash of the file.
    """

    name: str
    features: str
    file: Path
    digest: str

    @property
    def record(self) -> list[str]:
        """What of it decides a score."""
        return [self.name, self.features, self.digest]


def given_statistics(suite: Suite, features: dict[ExtractorSpec, tuple[Any, int]]) -> tuple[GivenStatistics, ...]:
    """Every file of a suite whose extractor is at hand.

    Args:
        suite: the suite.
        features: the feature extractors that could be made, each with the width of its features.

    Raises:
        ConfigError: a file that cannot be read, is of another width, or says that another extractor made its features.
    """
    from bench.storage.gaussian_files import read_statistics

    by_title = {spec.title: (made, width) for spec, (made, width) in features.items()}
    found = []
    for name, choice in suite.statistics.items():
        if choice.features not in by_title:
            continue  # said already to be skipped
        made, width = by_title[choice.features]
        file = Path(choice.file).expanduser().resolve()
        fitted, extractor = read_statistics(file)
        if fitted.mean.size != width:
            raise ConfigError(
                f"mu of {file} must have the width of {choice.features}, {width}, got {fitted.mean.size}; name the "
                "extractor that made it"
            )
        if extractor not in (None, made.digest):
            raise ConfigError(
                f"{file} must be of the features of {choice.features}, got those of an extractor with other weights or "
                "fields; write it again with `run_bench.py statistics`"
            )
        found.append(GivenStatistics(name, choice.features, file, file_digest(file)))
    return tuple(found)


@functools.lru_cache(maxsize=8)
def read_given(given: GivenStatistics) -> Gaussian:
    """The fit; the same object on every call, so that its factor is computed once a process.

    Raises:
        ConfigError: the file changed while the run went on.
    """
    from bench.storage.gaussian_files import read_statistics

    if not given.file.is_file() or file_digest(given.file) != given.digest:
        raise ConfigError(f"{given.file} must stay as it was when the run began, got another; run the command again")
    return read_statistics(given.file)[0]

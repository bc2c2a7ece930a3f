"""References that are files of mean and covariance: checked before a run, and read by workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.digest import file_digest
from bench.core.errors import ConfigError

if TYPE_CHECKING:
    from bench.config.suite import Suite
    from bench.core.gaussian import Gaussian


@dataclass(frozen=True, slots=True)
class StatisticsFile:
    """A file of mean and covariance that was checked; it travels between processes.

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
        """Return name, features and digest: the parts that decide a score."""
        return [self.name, self.features, self.digest]


def reference_statistics(suite: Suite, features: Mapping[str, tuple[str, int]]) -> tuple[StatisticsFile, ...]:
    """Return every statistics file of a suite whose extractor is available.

    Args:
        suite: the suite.
        features: title of each available feature extractor to its digest and the width of its features.

    Raises:
        ConfigError: a file that cannot be read, is of another width, or says that another extractor made its features.
    """
    from bench.storage.gaussian_files import read_statistics

    files = []
    for name, choice in suite.statistics.items():
        if choice.features not in features:
            continue  # reported already as skipped
        digest, width = features[choice.features]
        file = Path(choice.file).expanduser().resolve()
        fitted, extractor = read_statistics(file)
        if fitted.mean.size != width:
            raise ConfigError(
                f"mu of {file} must have the width of {choice.features}, {width}, got {fitted.mean.size}; name the "
                "extractor that made it"
            )
        if extractor not in (None, digest):
            raise ConfigError(
                f"{file} must be of the features of {choice.features}, got those of an extractor with other weights or "
                "fields; write it again with `run_bench.py statistics`"
            )
        files.append(StatisticsFile(name, choice.features, file, file_digest(file)))
    return tuple(files)


def read_unchanged(file: StatisticsFile) -> Gaussian:
    """Return the Gaussian fit of a file.

    Raises:
        ConfigError: the file changed after the run began.
    """
    from bench.storage.gaussian_files import read_statistics

    if not file.file.is_file() or file_digest(file.file) != file.digest:
        raise ConfigError(f"{file.file} must stay as it was when the run began, got another; run the command again")
    return read_statistics(file.file)[0]

"""The record of files that suites need from elsewhere: revisions, sizes, hashes and folders."""

from __future__ import annotations

import functools
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from pydantic import Field

from bench.core.yaml_models import Strict, read_yaml


class HubFile(Strict):
    """A required file; its size in bytes and SHA-256 where they are recorded."""

    bytes: Annotated[int, Field(ge=0)] | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


class Repository(Strict):
    """A repository of the hub at one revision.

    Attributes:
        licence: of the weights.
        files: required files, by their path in the repository.
        also: patterns of small files that are fetched where they exist.
    """

    licence: str
    files: dict[str, HubFile] = Field(min_length=1)
    also: tuple[str, ...] = ()

    @property
    def patterns(self) -> list[str]:
        """Patterns of all files to fetch."""
        return [*self.files, *self.also]


class Downloads(Strict):
    """The file bench/assets/downloads.yaml: repositories by OWNER/NAME@REVISION, and folders that a user must fill."""

    hub: dict[str, Repository] = Field(default_factory=dict)
    folders: dict[str, str] = Field(default_factory=dict)


@functools.cache
def downloads() -> Downloads:
    """Return the record, read once per process."""
    return read_yaml(Path(str(files("bench"))) / "assets" / "downloads.yaml", Downloads)

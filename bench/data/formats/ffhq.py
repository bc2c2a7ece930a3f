"""FFHQ with attributes from a second source (Karras et al. 2019, arXiv 1812.04948; DCGM's ffhq-features-dataset)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bench.core.errors import ConfigError
from bench.data.table import FilePictures, Table, existing, files_below, read_csv, read_text


@dataclass(frozen=True)
class Format:
    """images1024x1024/*/00000.png with json/00000.json of ffhq-features-dataset, or with a CSV.

    Attributes:
        root: the folder of these files.
        images: the folder of the images below the root, with or without subfolders of a thousand.
        labels: below the root, a folder of JSON files or a CSV. A JSON file is a list of faces; the `faceAttributes` of
            the first are the columns (`gender`, `age`, `glasses`, `facialHair.beard`).
        file: the CSV's column with an image's number or file name, such as `image_number` of ffhq_aging_labels.csv.
    """

    root: str
    images: str = "images1024x1024"
    labels: str = "json"
    file: str = "image_number"

    def table(self) -> Table:
        """Read the labels and list the files; see `bench.data.table.Format`."""
        root = existing(self.root)
        images, labels = existing(str(root / self.images)), existing(str(root / self.labels), "path")
        stems: dict[str, str] = {}
        for name in files_below(images):
            stem = PurePosixPath(name).stem
            if stem in stems:
                raise ConfigError(f"{images} must hold an image once, got {stems[stem]} and {name}; keep one")
            stems[stem] = name
        rows = _from_json(labels) if labels.is_dir() else _from_csv(labels, self.file)
        problems = {f"{stem}": f"labelled in {labels.name} but missing" for stem in rows if stem not in stems}
        problems |= {name: f"not labelled in {labels.name}" for stem, name in stems.items() if stem not in rows}
        usable = [stem for stem in stems if rows.get(stem)]
        problems |= {stems[stem]: f"no face in {labels.name}" for stem in stems if stem in rows and not rows[stem]}
        columns = {key: [rows[stem].get(key, "") for stem in usable] for key in _keys(rows)}
        return Table(FilePictures(images, [stems[stem] for stem in usable]), columns, {}, problems)


def _keys(rows: dict[str, dict[str, str]]) -> list[str]:
    return list(dict.fromkeys(key for row in rows.values() for key in row))


def _from_csv(path: Path, column: str) -> dict[str, dict[str, str]]:
    rows: dict[str, dict[str, str]] = {}
    for line, row in read_csv(path, [column]):
        value = row[column]
        stem = f"{int(value):05d}" if value.isdigit() else PurePosixPath(value).stem
        if stem in rows:
            raise ConfigError(f"{path}, line {line}: {value} has a row already; keep one")
        rows[stem] = {key: text for key, text in row.items() if key != column}
    return rows


def _from_json(folder: Path) -> dict[str, dict[str, str]]:
    """Return stem to the flat attributes of the first face, empty for an image without a face."""
    rows = {}
    for name in files_below(folder):
        path = folder / name
        try:
            faces = json.loads(read_text(path))
            first = faces[0]["faceAttributes"] if faces else {}
            rows[path.stem] = dict(_flat(first, ""))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ConfigError(
                f"{path} must hold a list of faces with faceAttributes, got {type(error).__name__}: {error}; "
                "copy it again"
            ) from error
    return rows


def _flat(values: Mapping[str, object], prefix: str) -> list[tuple[str, str]]:
    """Return nested values as text by dotted names, without lists."""
    pairs: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, dict):
            pairs += _flat(value, f"{prefix}{key}.")
        elif isinstance(value, str | int | float) or value is None:
            pairs.append((f"{prefix}{key}", "" if value is None else str(value)))
    return pairs

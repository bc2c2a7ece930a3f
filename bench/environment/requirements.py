"""Requirements of a suite that the bench does not ship: available, to be fetched, or for the user to add."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.config.build import build_extractor
from bench.config.data_source import DataSource
from bench.config.suite import Suite
from bench.core.errors import BenchError, ConfigError, Incompatible
from bench.core.plugins import load
from bench.core.specs import ExtractorSpec
from bench.core.units import GIB
from bench.models import MODEL_FILES
from bench.storage.downloads import downloads
from bench.storage.files import cache_root
from bench.storage.hub import (
    ANY,
    FileChoice,
    NotOnHub,
    available,
    bytes_to_fetch,
    copy_from_mirror,
    fetch,
    mirror_folder,
    mirrored,
    verify,
)

HUB, PATH = "hub:", "path:"


@dataclass(frozen=True)
class Item:
    """A requirement of a suite that the bench does not ship.

    Attributes:
        what: its role in the suite.
        where: its name there: a repository of the hub, a folder or a file.
        missing: how to get it; empty if it is available.
        needed: True if the suite cannot run without it; else only its columns are skipped.
        hub: the repository OWNER/NAME[@REVISION], where `prepare` can fetch it.
        files: those of the repository that are read.
    """

    what: str
    where: str
    missing: str = ""
    needed: bool = True
    hub: str | None = None
    files: FileChoice = FileChoice(ANY)


def takes_from_elsewhere(suite: Suite) -> bool:
    """Return True if a suite names anything that the bench does not ship, without looking for it."""
    specs = [*suite.classifiers, *(choice.spec for choice in suite.features)]
    brings_data = any(source.root is not None for source in suite.data.values())
    return (
        brings_data
        or bool(suite.statistics)
        or any(map(_elsewhere, (suite.model.name, *(s.fields.text for s in specs))))
    )


def _elsewhere(text: str) -> bool:
    return HUB in text or PATH in text


def examine(suite: Suite, opened: bool = True) -> list[Item]:
    """Return everything that a suite takes from elsewhere, and its state. Nothing is fetched or written.

    Args:
        suite: the suite.
        opened: True to read the data and build the extractors, False to look only for their files.
    """
    return [
        *_places("model", suite.model.name, MODEL_FILES, needed=True),
        *_data(suite, opened),
        *_statistics(suite),
        *_extractors(suite, opened),
    ]


def _places(what: str, name: str, files: FileChoice, needed: bool) -> list[Item]:
    """Return the requirement of a model or checkpoint named hub:ID or path:DIR; a shipped one has none."""
    if name.startswith(HUB):
        repo_name = name.removeprefix(HUB)
        missing = "" if available(repo_name, files) else "fetch it with `prepare`"
        return [Item(what, name, missing, needed, repo_name, files)]
    if name.startswith(PATH):
        folder = name.removeprefix(PATH)
        there = Path(folder).expanduser().is_dir()
        how = downloads().folders.get(folder, "put a folder there as save_pretrained writes it")
        return [Item(what, folder, "" if there else how, needed)]
    return []


def _data(suite: Suite, opened: bool) -> list[Item]:
    roots: dict[tuple[str, str, str], Item] = {}
    for name, source in suite.data.items():
        if source.root is not None:
            key = (source.name, source.root, str(sorted(source.fields.items())))
            if key not in roots:
                roots[key] = Item(f"data {name}", source.root, _wrong_with(source, opened))
    return list(roots.values())


def _wrong_with(source: DataSource, opened: bool) -> str:
    """Return what is wrong with a folder of data, in a sentence; empty if its labels and files exist."""
    format = load("data format", source.name, "Format")
    form = (format.__doc__ or "").strip().splitlines()[0].rstrip(".")
    root = Path(source.root or "").expanduser()
    if source.name == "hub":
        return ""  # the run itself fetches it
    if not root.exists():
        return f"put {source.name} there: {form}"
    if not opened:
        return ""
    try:
        format(source.root, **source.fields).table()
    except (BenchError, TypeError) as error:
        return f"{error} ({source.name} must hold {form})"
    return ""


def _statistics(suite: Suite) -> Iterator[Item]:
    for name, choice in suite.statistics.items():
        there = Path(choice.file).expanduser().is_file()
        how = f"make it: python run_bench.py statistics DATA --features {choice.features} --out {choice.file}"
        yield Item(f"statistics {name}", choice.file, "" if there else how)


def _extractors(suite: Suite, opened: bool) -> Iterator[Item]:
    first = suite.classifier.spec
    for spec in dict.fromkeys((*suite.classifiers, *(choice.spec for choice in suite.features))):
        what = f"extractor {spec.title}"
        items = [item for text in _strings(spec) for item in _places(what, text, _hub_files(spec), spec == first)]
        yield from items
        if opened and not any(item.missing for item in items):
            wrong = _cannot_make(spec)
            if wrong:
                yield Item(what, spec.name, wrong, spec == first)


def _strings(spec: ExtractorSpec) -> list[str]:
    return [value for value in spec.fields.values() if isinstance(value, str)]


def _hub_files(spec: ExtractorSpec) -> FileChoice:
    """Return the files of a repository that an extractor reads."""
    if not any(text.startswith(HUB) for text in _strings(spec)):
        return FileChoice(ANY)  # it is not imported, which takes seconds
    return FileChoice(tuple(getattr(load("evaluator", spec.name, "Extractor"), "hub_files", ANY)))


def _cannot_make(spec: ExtractorSpec) -> str:
    """Return why an extractor cannot be built here, in its words; empty if it can."""
    try:
        build_extractor(spec)
    except BenchError as error:
        return str(error)
    return ""


def refuse_missing(suite: Suite) -> None:
    """Refuse a suite whose requirements are missing, and name all of them in one sentence.

    Raises:
        ConfigError: something is missing.
    """
    lacks = [item for item in examine(suite, opened=False) if item.missing and item.needed]
    if lacks:
        listed = "; ".join(f"{item.what} at {item.where} ({item.missing})" for item in lacks)
        raise ConfigError(f"suite {suite.suite} needs what is not here: {listed}; docs/presets.md says more")


def prepare(suite: Suite, mirror: Path | None) -> list[Item]:
    """Fetch what is missing and can be fetched; what is already complete stays.

    Args:
        suite: the suite.
        mirror: a folder OWNER/NAME/REVISION that is read in repo_name of the hub; None asks the hub.

    Returns:
        Every item, in its state afterwards.

    Raises:
        ConfigError: the disk has no room, or the mirror is not a folder.
    """
    if mirror is not None and not mirror.is_dir():
        raise ConfigError(f"no folder {mirror}; a mirror holds OWNER/NAME/REVISION, as docs/presets.md says")
    items = examine(suite)
    folders = {(item.hub, item.files): available(item.hub, item.files) for item in items if item.hub}
    absent = [key for key, folder in folders.items() if folder is None]
    _check_room(absent, mirror)
    wrong = {
        (repo_name, files): _damage(repo_name, folder, files) if folder else _fetch(repo_name, files, mirror)
        for (repo_name, files), folder in folders.items()
    }
    if absent:
        items = examine(suite)
    return [dataclasses.replace(i, missing=wrong[i.hub, i.files]) if i.hub else i for i in items]


def _fetch(repo_name: str, files: FileChoice, mirror: Path | None) -> str:
    """Fetch a repository, and return why that failed; empty if it did not."""
    try:
        folder = copy_from_mirror(repo_name, mirror, files) if mirror else fetch(repo_name, files)
    except NotOnHub as error:
        return str(error)
    except Incompatible as error:
        return f"{error}; {_by_hand(repo_name, files)}"
    except ConfigError as error:
        return str(error)
    return _damage(repo_name, folder, files)


def _damage(repo_name: str, folder: Path, files: FileChoice) -> str:
    """Return which file of a repository is damaged or differs from the record; empty if none is."""
    try:
        verify(repo_name, folder, files)
    except ConfigError as error:
        return str(error)
    return ""


def _by_hand(repo_name: str, files: FileChoice) -> str:
    """Return what to do on a machine that has a network."""
    repo, _, revision = repo_name.partition("@")
    record = downloads().hub.get(repo_name)
    pinned = f" --revision {revision}" if revision else ""
    names = " ".join(record.files) if record else " ".join(f"--include '{p}'" for p in files.patterns)
    folder = mirror_folder(repo_name, Path("MIRROR"))
    return (
        f"where there is a network: hf download {repo}{pinned} {names} --local-dir {folder}; bring MIRROR here, and "
        "run `prepare` with --mirror MIRROR"
    )


def _check_room(absent: list[tuple[str, FileChoice]], mirror: Path | None) -> None:
    """Refuse a fetch that the disk has no room for; files of unknown size count as 0.

    Raises:
        ConfigError: there is less room than the files need.
    """
    from huggingface_hub import constants

    target = cache_root() if mirror else Path(constants.HF_HUB_CACHE)
    need = sum(_bytes_of(repo_name, files, mirror) for repo_name, files in absent)
    while not target.exists():
        target = target.parent
    free = shutil.disk_usage(target).free
    if need > free:
        raise ConfigError(
            f"what is to be fetched needs {need / GIB:.2f} GiB, {target} has {free / GIB:.2f} GiB; make room, or name "
            f"another folder in ${'FAIRDIFF_CACHE' if mirror else 'HF_HUB_CACHE'}"
        )


def _bytes_of(repo_name: str, files: FileChoice, mirror: Path | None) -> int:
    record = downloads().hub.get(repo_name)
    try:
        if mirror is not None:
            folder = mirror_folder(repo_name, mirror)
            return sum((folder / name).stat().st_size for name in mirrored(repo_name, mirror, files))
        if record is not None:
            return sum(file.bytes or 0 for file in record.files.values())
        return bytes_to_fetch(repo_name, files)
    except BenchError:
        return 0  # the fetch itself says why

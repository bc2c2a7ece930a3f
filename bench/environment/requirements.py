"""What a suite takes from elsewhere: what is at hand, what can be fetched, and what the user must put where."""

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
from bench.estimate.costs import GIB
from bench.storage.downloads import downloads
from bench.storage.files import cache_root
from bench.storage.hub import ANY, available, bytes_on_hub, copy_from_mirror, fetch, mirror_folder, mirrored, verify

HUB, PATH = "hub:", "path:"


@dataclass(frozen=True)
class Item:
    """One thing that a suite needs and the bench does not bring.

    Attributes:
        what: its part in the suite.
        where: its name there: a repository of the hub, a folder or a file.
        missing: what to do to have it; empty where it is at hand.
        needed: whether the suite cannot run without it; a column that cannot be made is skipped.
        hub: the repository OWNER/NAME[@REVISION], where `prepare` can fetch it.
    """

    what: str
    where: str
    missing: str = ""
    needed: bool = True
    hub: str | None = None


def takes_from_elsewhere(suite: Suite) -> bool:
    """Whether a suite names anything that the bench does not bring, without looking for it."""
    specs = [*suite.classifiers, *(choice.spec for choice in suite.features)]
    own = any(source.root is not None for source in suite.data.values())
    return own or bool(suite.statistics) or any(map(_elsewhere, (suite.model.name, *(s.fields.text for s in specs))))


def _elsewhere(text: str) -> bool:
    return HUB in text or PATH in text


def examine(suite: Suite, opened: bool = True) -> list[Item]:
    """Everything that a suite takes from elsewhere, and whether it is at hand. Nothing is fetched or written.

    Args:
        suite: the suite.
        opened: whether data is read and extractors are made, or looked for alone.
    """
    return [
        *_places("model", suite.model.name, needed=True),
        *_data(suite, opened),
        *_statistics(suite),
        *_extractors(suite, opened),
    ]


def _places(what: str, name: str, needed: bool) -> list[Item]:
    """A model or checkpoint that is named hub:ID or path:DIR; a shipped one needs nothing."""
    if name.startswith(HUB):
        place = name.removeprefix(HUB)
        missing = "" if available(place) else "fetch it with `prepare`"
        return [Item(what, name, missing, needed, place)]
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
    """What a folder of data lacks, in a sentence; empty where its labels and files are there."""
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
        fields = _strings(spec)
        found = [item for text in fields for item in _places(what, text, spec == first)]
        yield from found
        if opened and not any(item.missing for item in found):
            wrong = _cannot_make(spec)
            if wrong:
                yield Item(what, spec.name, wrong, spec == first)


def _strings(spec: ExtractorSpec) -> list[str]:
    return [value for value in spec.fields.values() if isinstance(value, str)]


def _cannot_make(spec: ExtractorSpec) -> str:
    """Why an extractor cannot be made here, in its own words; empty where it can."""
    try:
        build_extractor(spec)
    except BenchError as error:
        return str(error)
    return ""


def refuse_missing(suite: Suite) -> None:
    """Refuse a suite that cannot run for want of what it takes from elsewhere, all of it in one sentence.

    Raises:
        ConfigError: something is missing.
    """
    lacks = [item for item in examine(suite, opened=False) if item.missing and item.needed]
    if lacks:
        listed = "; ".join(f"{item.what} at {item.where} ({item.missing})" for item in lacks)
        raise ConfigError(f"suite {suite.suite} needs what is not here: {listed}; docs/presets.md says more")


def prepare(suite: Suite, mirror: Path | None) -> list[Item]:
    """Fetch what is missing and can be fetched; what came whole before is kept.

    Args:
        suite: the suite.
        mirror: a folder OWNER/NAME/REVISION that is read in place of the hub; None asks the hub.

    Returns:
        Every item, as it is then.

    Raises:
        ConfigError: the disk has not the room, or the mirror is no folder.
    """
    if mirror is not None and not mirror.is_dir():
        raise ConfigError(f"no folder {mirror}; a mirror holds OWNER/NAME/REVISION, as docs/presets.md says")
    items = examine(suite)
    places = list(dict.fromkeys(item.hub for item in items if item.hub))
    folders = {place: available(place) for place in places}
    absent = [place for place, folder in folders.items() if folder is None]
    _check_room(absent, mirror)
    wrong = {place: _damage(place, folder) if folder else _fetch(place, mirror) for place, folder in folders.items()}
    if absent:
        items = examine(suite)
    return [dataclasses.replace(item, missing=wrong[item.hub]) if item.hub else item for item in items]


def _fetch(place: str, mirror: Path | None) -> str:
    """Fetch a repository; why that did not work, empty where it did."""
    try:
        folder = copy_from_mirror(place, mirror) if mirror else fetch(place, ANY)
    except Incompatible as error:
        return f"{error}; {_by_hand(place)}"
    except ConfigError as error:
        return str(error)
    return _damage(place, folder)


def _damage(place: str, folder: Path) -> str:
    """What of a repository that is here is not as it is on record; empty where nothing is."""
    try:
        verify(place, folder)
    except ConfigError as error:
        return str(error)
    return ""


def _by_hand(place: str) -> str:
    """What to do on a machine that has a network."""
    repo, _, revision = place.partition("@")
    known = downloads().hub.get(place)
    pinned = f" --revision {revision}" if revision else ""
    files = " ".join(known.files) if known else " ".join(f"--include '{p}'" for p in ANY)
    folder = mirror_folder(place, Path("MIRROR"))
    return (
        f"where there is a network: hf download {repo}{pinned} {files} --local-dir {folder}; bring MIRROR here, and "
        "run `prepare` with --mirror MIRROR"
    )


def _check_room(places: list[str], mirror: Path | None) -> None:
    """Refuse a fetch that the disk has no room for; what nobody knows the size of counts nothing.

    Raises:
        ConfigError: there is less room than the files need.
    """
    from huggingface_hub import constants

    target = cache_root() if mirror else Path(constants.HF_HUB_CACHE)
    need = sum(_bytes_of(place, mirror) for place in places)
    while not target.exists():
        target = target.parent
    free = shutil.disk_usage(target).free
    if need > free:
        raise ConfigError(
            f"what is to be fetched needs {need / GIB:.2f} GiB, {target} has {free / GIB:.2f} GiB; make room, or name "
            f"another folder in ${'FAIRDIFF_CACHE' if mirror else 'HF_HUB_CACHE'}"
        )


def _bytes_of(place: str, mirror: Path | None) -> int:
    if mirror is not None:
        folder = mirror_folder(place, mirror)
        return sum((folder / name).stat().st_size for name in mirrored(place, mirror)) if folder.is_dir() else 0
    known = downloads().hub.get(place)
    if known is not None:
        return sum(file.bytes or 0 for file in known.files.values())
    try:
        return bytes_on_hub(place, ANY)
    except Incompatible:
        return 0  # the fetch itself says why

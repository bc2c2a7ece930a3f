"""Files of the model hub: fetched only where a name asks for it, and never code or pickles.

They lie in the hub's own cache on this machine, or, where they came from a mirror, below `cache_root()/hub`, as
OWNER/NAME/REVISION. A mirror is a folder of the same form, filled on a machine that has a network.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from bench.core.digest import file_digest
from bench.core.errors import ConfigError, Incompatible
from bench.storage.downloads import HubFile, Repository, downloads
from bench.storage.files import cache_root, read_object, write_json

ANY = ["*.safetensors", "*.json", "*.txt"]  # weights, configurations and vocabularies; no code, no pickle
DONE = ".prepared.json"  # in a folder that came whole from a mirror: the sizes of its files
PLACE = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?")


def fetch(place: str, wanted: list[str]) -> Path:
    """The folder of a repository's files: from a mirror's copy, the hub's cache on this machine, or fetched into it.

    Args:
        place: OWNER/NAME, with @REVISION where it must not change.
        wanted: patterns of the files' names; nothing else is fetched, and of a repository that
            bench/assets/downloads.yaml knows, what that says.

    Raises:
        Incompatible: no network, or no such repository.
    """
    from huggingface_hub import snapshot_download

    known = downloads().hub.get(place)
    kept = _copied(place)
    if kept is not None:
        return kept
    repo, _, revision = place.partition("@")
    patterns = known.wanted if known else wanted
    with _said(f"cannot fetch {place} from the hub", "; download it and use path:DIR"):
        return Path(snapshot_download(repo, revision=revision or None, allow_patterns=patterns))


def at_hand(place: str) -> Path | None:
    """The folder of a repository that `fetch` would find whole without a network; None where it would not."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    kept = _copied(place)
    if kept is not None:
        return kept
    repo, _, revision = place.partition("@")
    try:
        folder = Path(snapshot_download(repo, revision=revision or None, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError):
        return None
    return None if lacking(folder, downloads().hub.get(place)) else folder


def lacking(folder: Path, known: Repository | None) -> list[str]:
    """The files that a folder lacks, or has of another size; without a record, weights if it has none."""
    if known is None:
        return [] if any(folder.rglob("*.safetensors")) else ["*.safetensors"]
    return [name for name, file in known.files.items() if not _fits(folder / name, file)]


def _fits(path: Path, file: HubFile) -> bool:
    return path.is_file() and file.bytes in (None, path.stat().st_size)


def verify(place: str, folder: Path) -> None:
    """Hold a fetched folder against what is known of it.

    Raises:
        ConfigError: a file is missing, or is not the one that was recorded.
    """
    known = downloads().hub.get(place)
    missing = lacking(folder, known)
    if missing:
        raise ConfigError(f"{folder} must hold {', '.join(missing)} of {place}; fetch them again")
    for name, file in known.files.items() if known else ():
        _check_hash(folder / name, file, place)


def _check_hash(path: Path, file: HubFile, place: str) -> None:
    if file.sha256 is not None and (found := file_digest(path)) != file.sha256:
        raise ConfigError(
            f"{path} of {place} must have the SHA-256 {file.sha256}, got {found}; remove it and prepare again"
        )


def copy_from_mirror(place: str, mirror: Path) -> Path:
    """Copy a repository from a mirror to this machine; files that are there already are not copied again.

    Raises:
        ConfigError: the mirror lacks it, a file is damaged, or the disk is full.
    """
    source, known = mirror_folder(place, mirror), downloads().hub.get(place)
    names = mirrored(place, mirror)
    missing = lacking(source, known) if source.is_dir() else [str(source)]
    if missing or not names:
        raise ConfigError(f"the mirror must hold {source} with {', '.join(missing) or 'files'}; fill it and try again")
    target = _own(place)
    try:
        for name in names:
            file = known.files.get(name, HubFile()) if known else HubFile()
            _copy(source / name, target / name, file, place)
    except OSError as error:
        raise ConfigError(f"cannot copy {source} to {target}: {error.strerror or error}; make room there") from error
    write_json(target / DONE, {name: (target / name).stat().st_size for name in names})
    return target


def _copy(source: Path, target: Path, file: HubFile, place: str) -> None:
    """Copy a file by a rename, so that one under its own name is whole; a copy that was stopped is begun again."""
    if target.is_file() and target.stat().st_size == source.stat().st_size:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    shutil.copyfile(source, part)
    try:
        _check_hash(part, file, place)
    except ConfigError as error:
        part.unlink()
        raise ConfigError(str(error).replace(str(part), str(source))) from None
    os.replace(part, target)


def mirrored(place: str, mirror: Path) -> list[str]:
    """The files of a repository that a mirror has and that would be copied."""
    folder, known = mirror_folder(place, mirror), downloads().hub.get(place)
    wanted = known.wanted if known else ANY
    names = (PurePosixPath(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file())
    return [str(name) for name in names if any(fnmatch(str(name), pattern) for pattern in wanted)]


def mirror_folder(place: str, mirror: Path) -> Path:
    """Where a mirror has a repository: OWNER/NAME/REVISION, or OWNER/NAME/main where no revision is named."""
    return mirror / _relative(place)


def _own(place: str) -> Path:
    return cache_root() / "hub" / _relative(place)


def _relative(place: str) -> Path:
    if not PLACE.fullmatch(place) or ".." in place:
        raise ConfigError(f"a repository of the hub must be OWNER/NAME or OWNER/NAME@REVISION, got {place!r}")
    repo, _, revision = place.partition("@")
    return Path(repo) / (revision or "main")


def _copied(place: str) -> Path | None:
    """The folder of a repository that a mirror gave, if all of it is still there."""
    if not PLACE.fullmatch(place) or ".." in place:
        return None  # the hub's client says what is wrong with it
    folder = _own(place)
    if not (folder / DONE).is_file():
        return None
    sizes: dict[str, int] = read_object(folder / DONE, "run `prepare` again")
    whole = all((folder / n).is_file() and (folder / n).stat().st_size == size for n, size in sizes.items())
    return folder if whole else None


def bytes_on_hub(place: str, wanted: list[str]) -> int:
    """Bytes that a fetch would bring here, asked of the hub.

    Raises:
        Incompatible: no network, or no such repository.
    """
    from huggingface_hub import snapshot_download

    with _said(f"cannot ask the hub for {place}"):
        repo, _, revision = place.partition("@")
        files = snapshot_download(repo, revision=revision or None, allow_patterns=wanted, dry_run=True)
    return sum(file.file_size or 0 for file in files if file.will_download)


@contextmanager
def _said(what: str, otherwise: str = "") -> Iterator[None]:
    """Say the hub client's errors in one sentence."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        yield
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise Incompatible(f"{what}: {first}{otherwise}") from error

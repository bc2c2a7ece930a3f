"""Files of the model hub, fetched only for `hub:` names; never code or pickles.

Files lie in the hub's cache on this machine or, copied from a mirror, below `cache_root()/hub` as OWNER/NAME/REVISION.
A mirror is a folder of the same structure, filled on a machine with a network.
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
from bench.core.json_text import read_object
from bench.storage.downloads import HubFile, Repository, downloads
from bench.storage.files import cache_root, write_json

ANY = ["*.safetensors", "*.json", "*.txt"]  # weights, configurations and vocabularies; no code, no pickle
DONE = ".prepared.json"  # written last into a folder copied from a mirror: the sizes of its files
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?")


def fetch(repository: str, patterns: list[str]) -> Path:
    """Return the folder of a repository: a mirror's copy, or the hub's cache, into which missing files are fetched.

    Args:
        repository: OWNER/NAME, with @REVISION to pin it.
        patterns: of the files' names; no other file is fetched. A repository of
            bench/assets/downloads.yaml has the patterns of its record instead.

    Raises:
        Incompatible: no network, or no such repository.
    """
    from huggingface_hub import snapshot_download

    record = downloads().hub.get(repository)
    copied = _copied(repository)
    if copied is not None:
        return copied
    repo, _, revision = repository.partition("@")
    allowed = record.patterns if record else patterns
    with _one_sentence(f"cannot fetch {repository} from the hub", "; download it and use path:DIR"):
        return Path(snapshot_download(repo, revision=revision or None, allow_patterns=allowed))


def available(repository: str) -> Path | None:
    """Return the folder of a repository that is complete on this machine, or None if `fetch` would need a network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    copied = _copied(repository)
    if copied is not None:
        return copied
    repo, _, revision = repository.partition("@")
    try:
        folder = Path(snapshot_download(repo, revision=revision or None, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError):
        return None
    return None if lacking(folder, downloads().hub.get(repository)) else folder


def lacking(folder: Path, record: Repository | None) -> list[str]:
    """Return the recorded files that are missing or differ in size; without a record, weights if there are none."""
    if record is None:
        return [] if any(folder.rglob("*.safetensors")) else ["*.safetensors"]
    return [name for name, file in record.files.items() if not _fits(folder / name, file)]


def _fits(path: Path, file: HubFile) -> bool:
    return path.is_file() and file.bytes in (None, path.stat().st_size)


def verify(repository: str, folder: Path) -> None:
    """Check a fetched folder against the record of its repository.

    Raises:
        ConfigError: a file is missing, or is not the one that was recorded.
    """
    record = downloads().hub.get(repository)
    missing = lacking(folder, record)
    if missing:
        raise ConfigError(f"{folder} must hold {', '.join(missing)} of {repository}; fetch them again")
    for name, file in record.files.items() if record else ():
        _check_hash(folder / name, file, repository)


def _check_hash(path: Path, file: HubFile, repository: str) -> None:
    if file.sha256 is not None and (digest := file_digest(path)) != file.sha256:
        raise ConfigError(
            f"{path} of {repository} must have the SHA-256 {file.sha256}, got {digest}; remove it and prepare again"
        )


def copy_from_mirror(repository: str, mirror: Path) -> Path:
    """Copy a repository from a mirror to this machine, skipping files that are there already.

    Raises:
        ConfigError: the mirror lacks it, a file is damaged, or the disk is full.
    """
    source, record = mirror_folder(repository, mirror), downloads().hub.get(repository)
    names = mirrored(repository, mirror)
    missing = lacking(source, record) if source.is_dir() else [str(source)]
    if missing or not names:
        raise ConfigError(f"the mirror must hold {source} with {', '.join(missing) or 'files'}; fill it and try again")
    target = _copy_folder(repository)
    try:
        for name in names:
            file = record.files.get(name, HubFile()) if record else HubFile()
            _copy(source / name, target / name, file, repository)
    except OSError as error:
        raise ConfigError(f"cannot copy {source} to {target}: {error.strerror or error}; make room there") from error
    write_json(target / DONE, {name: (target / name).stat().st_size for name in names})
    return target


def _copy(source: Path, target: Path, file: HubFile, repository: str) -> None:
    """Copy a file and rename it at the end, so that a file under its final name is complete."""
    if target.is_file() and target.stat().st_size == source.stat().st_size:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".part")
    shutil.copyfile(source, partial)
    try:
        _check_hash(partial, file, repository)
    except ConfigError as error:
        partial.unlink()
        raise ConfigError(str(error).replace(str(partial), str(source))) from None
    os.replace(partial, target)


def mirrored(repository: str, mirror: Path) -> list[str]:
    """Return the files of a repository in a mirror that `copy_from_mirror` would copy."""
    folder, record = mirror_folder(repository, mirror), downloads().hub.get(repository)
    patterns = record.patterns if record else ANY
    names = (PurePosixPath(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file())
    return [str(name) for name in names if any(fnmatch(str(name), pattern) for pattern in patterns)]


def mirror_folder(repository: str, mirror: Path) -> Path:
    """Return the folder of a repository in a mirror: OWNER/NAME/REVISION, or OWNER/NAME/main without a revision."""
    return mirror / _relative(repository)


def _copy_folder(repository: str) -> Path:
    return cache_root() / "hub" / _relative(repository)


def _relative(repository: str) -> Path:
    if not REPOSITORY.fullmatch(repository) or ".." in repository:
        raise ConfigError(f"a repository of the hub must be OWNER/NAME or OWNER/NAME@REVISION, got {repository!r}")
    repo, _, revision = repository.partition("@")
    return Path(repo) / (revision or "main")


def _copied(repository: str) -> Path | None:
    """Return the folder of a repository copied from a mirror, or None if it is absent or incomplete."""
    if not REPOSITORY.fullmatch(repository) or ".." in repository:
        return None  # the hub's client explains the error
    folder = _copy_folder(repository)
    if not (folder / DONE).is_file():
        return None
    sizes: dict[str, int] = read_object(folder / DONE, "run `prepare` again")
    whole = all((folder / n).is_file() and (folder / n).stat().st_size == size for n, size in sizes.items())
    return folder if whole else None


def bytes_on_hub(repository: str, patterns: list[str]) -> int:
    """Return the number of bytes that `fetch` would download, as the hub reports it.

    Raises:
        Incompatible: no network, or no such repository.
    """
    from huggingface_hub import snapshot_download

    with _one_sentence(f"cannot ask the hub for {repository}"):
        repo, _, revision = repository.partition("@")
        files = snapshot_download(repo, revision=revision or None, allow_patterns=patterns, dry_run=True)
    return sum(file.file_size or 0 for file in files if file.will_download)


@contextmanager
def _one_sentence(what: str, otherwise: str = "") -> Iterator[None]:
    """Raise the errors of the hub's client as `Incompatible`, in one sentence."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        yield
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise Incompatible(f"{what}: {first}{otherwise}") from error

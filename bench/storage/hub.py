"""Files of the model hub, fetched only for `hub:` names; never code or pickles.

Files lie in the hub's cache on this machine or, copied from a mirror, below `cache_root()/hub` as OWNER/NAME/REVISION.
A mirror is a folder of the same structure, filled on a machine with a network.

A `FileChoice` decides which files of a repository are read. Fetching, copying, checking and sizing all ask it, so what
was fetched is what is looked for.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import cast

from bench.core.digest import file_digest
from bench.core.errors import ConfigError, Incompatible
from bench.core.json_text import read_object
from bench.storage.downloads import HubFile, Repository, downloads
from bench.storage.files import cache_root, write_json

ANY = ("*.safetensors", "*.json", "*.txt")  # weights, configurations and vocabularies; no code, no pickle
# Small files at the root that say what a repository holds; they are fetched before the others are chosen.
DESCRIPTIONS = ["model_index.json", "config.json", "open_clip_config.json"]
DONE = ".prepared.json"  # written last into a folder copied from a mirror: the sizes of its files
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?")
SHA256 = re.compile(r"[0-9a-f]{64}")


class NotOnHub(Incompatible):
    """The hub answers, and does not have the repository or its revision for this user."""


@dataclass(frozen=True)
class Listing:
    """The files of a repository, on the hub or in a folder.

    Attributes:
        repository: OWNER/NAME[@REVISION].
        folder: on this machine; it holds the `DESCRIPTIONS` that the repository has.
        sizes: name of every file of the repository to its bytes.
    """

    repository: str
    folder: Path
    sizes: Mapping[str, int]


@dataclass(frozen=True)
class FileChoice:
    """The files of a repository that a model or an extractor reads.

    Attributes:
        patterns: of the names of all files that may be read; a pattern without "/" is of files at the root only.
        choose: returns the names to read from a listing, or raises ConfigError if the repository cannot be read; by
            default every name that matches a pattern.
    """

    patterns: tuple[str, ...]
    choose: Callable[[Listing], list[str]] | None = None

    def names(self, listing: Listing) -> list[str]:
        """Return the names of the files to read, those on record if the repository has a record.

        Raises:
            ConfigError: the repository lacks a file that is read.
        """
        record = downloads().hub.get(listing.repository)
        if record is not None:
            missing = [name for name in record.files if name not in listing.sizes]
            if missing:
                raise ConfigError(
                    f"{listing.repository} must hold {', '.join(missing)}, as bench/assets/downloads.yaml "
                    "says, got no such file; fetch or copy the revision again"
                )
            return [name for name in listing.sizes if any(fnmatch(name, pattern) for pattern in record.patterns)]
        return self.choose(listing) if self.choose else self._matching(listing)

    def _matching(self, listing: Listing) -> list[str]:
        matches = {p: [n for n in listing.sizes if _matches(n, p)] for p in self.patterns}
        lacking = [p for p, names in matches.items() if not names and glob.escape(p) == p]
        names = list(dict.fromkeys(name for names in matches.values() for name in names))
        if not any(name.endswith(".safetensors") for name in names):
            lacking = lacking or ["*.safetensors"]
        if lacking:
            raise ConfigError(f"{listing.repository} must hold {', '.join(lacking)}, {unread_weights(listing.sizes)}")
        return names


def unread_weights(names: Iterable[str]) -> str:
    """Return the end of a sentence about a repository without the weights that are read: what it has, what to do."""
    kinds = (".safetensors", ".bin", ".ckpt", ".pt", ".pth", ".msgpack")
    weights = [name for name in names if name.endswith(kinds)]
    return (
        f"got {', '.join(weights[:4]) or 'no weights'}{', ...' if len(weights) > 4 else ''}; no pickles and no other "
        "variants are read: load it with its own library, save it with save_pretrained, and give path:DIR"
    )


def _matches(name: str, pattern: str) -> bool:
    return name.count("/") == pattern.count("/") and fnmatch(name, pattern)


def fetch(repository: str, choice: FileChoice) -> Path:
    """Return the folder of a repository with all files that are read; those that are missing are fetched.

    A repository that is complete on this machine is not looked up on the hub again.

    Args:
        repository: OWNER/NAME, with @REVISION to pin it.
        choice: its files that are read; no other file is fetched. A repository of bench/assets/downloads.yaml has the
            files of its record instead.

    Raises:
        NotOnHub: no such repository, or it is not open to this user.
        Incompatible: no network.
        ConfigError: the repository lacks a file that is read, or a file is damaged.
    """
    folder = available(repository, choice)
    if folder is not None:
        return folder
    with _one_sentence(f"cannot fetch {repository} from the hub"):
        listing = _listing(repository, offline=False)
        names = choice.names(listing)
        _snapshot(repository, [glob.escape(name) for name in names], offline=False)
        for name in names:  # the client takes a file of the right name for the right file
            _check_size(listing.folder / name, HubFile(bytes=listing.sizes[name]), repository)
    return listing.folder


def available(repository: str, choice: FileChoice) -> Path | None:
    """Return the folder of a repository that is complete on this machine, or None if `fetch` would need a network."""
    from huggingface_hub.errors import HFValidationError

    folder = _copied(repository, choice)
    if folder is not None:
        return folder
    try:
        listing = _listing(repository, offline=True)
        names = choice.names(listing)
    except (ConfigError, HFValidationError, OSError):  # the client's error for a missing file is an OSError too
        return None
    whole = all(_has_size(listing.folder / name, listing.sizes[name]) for name in names)
    record = downloads().hub.get(repository)
    return listing.folder if whole and not (record and _unlike(listing.folder, record)) else None


def _listing(repository: str, offline: bool) -> Listing:
    """Return the files of a repository, as the hub lists them or has listed them before."""
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    folder = _snapshot(repository, DESCRIPTIONS, offline)
    repo, _, revision = repository.partition("@")
    try:
        files = get_cached_repo_tree(repo, revision=revision or None)
    except CachedRepoTreeNotFoundError:  # files that came there in another way
        return Listing(repository, folder, _sizes(folder))
    return Listing(repository, folder, {file.path: file.size for file in files})


def _snapshot(repository: str, patterns: list[str], offline: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    repo, _, revision = repository.partition("@")
    return Path(snapshot_download(repo, revision=revision or None, allow_patterns=patterns, local_files_only=offline))


def _sizes(folder: Path) -> dict[str, int]:
    """Return name to bytes of the files of a folder and its subfolders, without hidden ones."""
    names = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    return {n.as_posix(): (folder / n).stat().st_size for n in names if not any(part[0] == "." for part in n.parts)}


def _has_size(path: Path, size: int | None) -> bool:
    return path.is_file() and size in (None, path.stat().st_size)


def _unlike(folder: Path, record: Repository) -> list[str]:
    """Return the recorded files that are missing or differ in size."""
    return [name for name, file in record.files.items() if not _has_size(folder / name, file.bytes)]


def verify(repository: str, folder: Path, choice: FileChoice) -> None:
    """Check the files of a folder against the record of their repository and the hashes that the hub's cache holds.

    Raises:
        ConfigError: a file is missing, or is not the one that was recorded.
    """
    record = downloads().hub.get(repository)
    files = record.files if record else {name: HubFile() for name in choice.names(_folder_listing(repository, folder))}
    for name, file in files.items():
        path = folder / name
        if not path.is_file():
            raise ConfigError(f"{folder} must hold {name} of {repository}, got no such file; run `prepare` again")
        _check_size(path, file, repository)
        _check_hash(path, file, repository)


def _folder_listing(repository: str, folder: Path) -> Listing:
    return Listing(repository, folder, _sizes(folder))


def _check_size(path: Path, file: HubFile, repository: str) -> None:
    if not _has_size(path, file.bytes):
        raise ConfigError(
            f"{path} of {repository} must have {file.bytes} bytes, got {path.stat().st_size}; {_remove(path)}"
        )


def _check_hash(path: Path, file: HubFile, repository: str) -> None:
    """Compare a file with its record or, without one, with its name in the hub's cache: the SHA-256 of large files."""
    stored_as = path.resolve().name
    expected = file.sha256 or (stored_as if path.is_symlink() and SHA256.fullmatch(stored_as) else None)
    if expected is not None and (digest := file_digest(path)) != expected:
        raise ConfigError(f"{path} of {repository} must have the SHA-256 {expected}, got {digest}; {_remove(path)}")


def _remove(path: Path) -> str:
    """Return what to do about a damaged file; the hub's cache stores it elsewhere and links to it."""
    return f"remove {path.resolve() if path.is_symlink() else 'it'} and run `prepare` again"


def copy_from_mirror(repository: str, mirror: Path, choice: FileChoice) -> Path:
    """Copy the files of a repository that are read from a mirror to this machine, skipping those that are there.

    Raises:
        ConfigError: the mirror lacks it, a file is damaged, or the disk is full.
    """
    source, record = mirror_folder(repository, mirror), downloads().hub.get(repository)
    names = mirrored(repository, mirror, choice)
    target = _copy_folder(repository)
    try:
        for name in names:
            file = record.files.get(name, HubFile()) if record else HubFile()
            _copy(source / name, target / name, file, repository)
    except OSError as error:
        raise ConfigError(f"cannot copy {source} to {target}: {error.strerror or error}; make room there") from error
    sizes = {name: (target / name).stat().st_size for name in names}
    write_json(target / DONE, {**_copied_sizes(target), **sizes})
    return target


def _copied_sizes(folder: Path) -> dict[str, int]:
    """Return name to bytes of the files that were copied to a folder; none if a copy was stopped."""
    if not (folder / DONE).is_file():
        return {}
    sizes: dict[str, int] = read_object(folder / DONE, "remove it and run `prepare` again")
    return sizes


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


def mirrored(repository: str, mirror: Path, choice: FileChoice) -> list[str]:
    """Return the files of a repository in a mirror that `copy_from_mirror` would copy.

    Raises:
        ConfigError: the mirror lacks the repository, or one of its files.
    """
    folder, record = mirror_folder(repository, mirror), downloads().hub.get(repository)
    missing = _unlike(folder, record) if folder.is_dir() and record else [] if folder.is_dir() else ["its files"]
    if missing:
        raise ConfigError(f"the mirror must hold {folder} with {', '.join(missing)}; fill it and try again")
    try:
        return choice.names(_folder_listing(repository, folder))
    except ConfigError as error:
        raise ConfigError(f"the mirror's {folder} cannot be used: {error}") from error


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


def _copied(repository: str, choice: FileChoice) -> Path | None:
    """Return the folder of a repository copied from a mirror, or None if it is absent or incomplete."""
    if not REPOSITORY.fullmatch(repository) or ".." in repository:
        return None  # the hub's client explains the error
    folder = _copy_folder(repository)
    sizes = _copied_sizes(folder)
    try:
        names = choice.names(Listing(repository, folder, sizes))
    except ConfigError:
        return None
    return folder if all(_has_size(folder / name, sizes[name]) for name in names) else None


def bytes_to_fetch(repository: str, choice: FileChoice) -> int:
    """Return the number of bytes that `fetch` would download, as the hub lists them.

    Raises:
        Incompatible: no network, or no such repository.
        ConfigError: the repository lacks a file that is read.
    """
    with _one_sentence(f"cannot ask the hub for {repository}"):
        listing = _listing(repository, offline=False)
    names = choice.names(listing)
    return sum(listing.sizes[name] for name in names if not (listing.folder / name).is_file())


@contextmanager
def _one_sentence(what: str) -> Iterator[None]:
    """Raise the errors of the hub's client as `Incompatible`, in one sentence."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    # The bases have that of the library that the client connects with: httpx or, in later releases, httpx2.
    errors = cast("tuple[type[Exception], ...]", (*HfHubHTTPError.__bases__, HFValidationError, OSError))
    try:
        yield
    except GatedRepoError as error:
        terms = "accept its terms on the hub and log in with `hf auth login`"
        raise NotOnHub(f"{what}: it is open to those who accepted its terms only; {terms}") from error
    except RepositoryNotFoundError as error:
        raise NotOnHub(
            f"{what}: no such repository, or a private one; correct its name, or log in with `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise NotOnHub(f"{what}: no such revision; name a commit, tag or branch of the repository") from error
    except errors as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise Incompatible(f"{what}: {first}; download it and use path:DIR") from error

"""Files of the model hub: fetched only where a name asks for it, and never code or pickles."""

from __future__ import annotations

from pathlib import Path

from bench.errors import Incompatible


def fetch(place: str, wanted: list[str]) -> Path:
    """The folder of a repository's files, from the hub's cache on this machine or fetched into it.

    Args:
        place: OWNER/NAME, with @REVISION where it must not change.
        wanted: patterns of the files' names; nothing else is fetched.

    Raises:
        Incompatible: no network, or no such repository.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repo, _, revision = place.partition("@")
    try:
        return Path(snapshot_download(repo, revision=revision or None, allow_patterns=wanted))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise Incompatible(f"cannot fetch {place} from the hub: {first}; download it and use path:DIR") from error

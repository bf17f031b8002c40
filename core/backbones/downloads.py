"""Downloaded weights are those that were published: compared with the digests in their names."""

from __future__ import annotations

import re
from pathlib import Path

from ..contract.errors import WeightsUnavailableError
from ..contract.weights import file_sha256

# As torch.hub has it: a name ends in the first digits of the file's SHA-256.
_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.pth$")
# The hub's cache keeps a large file under its SHA-256, and small ones under other names.
_BLOB = re.compile(r"[0-9a-f]{64}")


def check_named(path: Path) -> None:
    """Compare a file of the dinov3 project or of torchvision with the digest in its name.

    Raises:
        WeightsUnavailableError: it is another file.
    """
    match = _IN_NAME.search(path.name)
    if match is not None:
        _check(path, match[1])


def check_snapshot(folder: Path) -> None:
    """Compare the weights in a snapshot of the hub's cache with their digests.

    The hub's library sees that a download has its length. Where the cache has no links (Windows
    may allow none) nothing tells the digests.

    Raises:
        WeightsUnavailableError: names the first that is another file.
    """
    for path in sorted(folder.glob("*.safetensors")):
        blob = path.resolve()
        if _BLOB.fullmatch(blob.name):
            _check(blob, blob.name)


def _check(path: Path, digest: str) -> None:
    if not file_sha256(path).startswith(digest):
        raise WeightsUnavailableError(
            f"'{path}' is not the file that was published under this name (its SHA-256 differs): "
            "it is damaged or was exchanged. Delete it and download it again; weights of your own "
            "need another name.",
            path=str(path),
        )

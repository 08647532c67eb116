"""Files that are either whole or not there."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

__all__ = ["atomic_write"]


@contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a file that takes its name only when the block ends well.

    What is written goes to a temporary name in the same folder, reaches the disk, and then replaces `path` in one step.
    If the block raises (Ctrl-C too) the temporary is removed and an older file of that name is untouched. Permissions
    are those that `open` would give: the umask for a new file, the old ones for an old file. A link is followed. What
    is not a regular file (a device, a pipe) has nothing to replace and is written as it is.

    mode is "wb", or "w" for UTF-8 text, line ends as written. Errors: ValueError for another mode, OSError as `open`.
    """
    if mode not in ("wb", "w"):
        raise ValueError(f"mode {mode!r}: want 'wb' or 'w'")
    text: dict[str, Any] = {"encoding": "utf-8", "newline": ""} if mode == "w" else {}
    target = os.path.realpath(path)
    permissions = None
    with suppress(FileNotFoundError):
        old = os.stat(target).st_mode
        if stat.S_ISDIR(old):
            raise IsADirectoryError(21, "Is a directory", os.fspath(path))
        if not stat.S_ISREG(old):
            with open(target, mode, **text) as stream:
                yield stream
            return
        permissions = stat.S_IMODE(old)

    temporary = os.path.join(os.path.dirname(target), f".{secrets.token_hex(8)}.tmp")
    try:
        try:
            descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except OSError as error:
            # The name the caller knows, not the temporary one.
            error.filename = os.fspath(path)
            raise
        with open(descriptor, mode, **text) as stream:
            if permissions is not None:
                os.fchmod(descriptor, permissions)
            yield stream
            stream.flush()
            os.fsync(descriptor)
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise

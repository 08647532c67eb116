"""A guard against the unrelated distribution `lmfast`, whose package has the same name as this one."""

from __future__ import annotations

import os


def refuse_unrelated_lmfast(folder: str | None = None) -> None:
    """Raise `ImportError` if the distribution `lmfast` is installed in `folder`, where this package lies.

    Both distributions write to `lmfast/`, so their files overwrite each other and what is imported is a mixture. This
    one is called `lmfast-kernels`. One listing of the folder: `importlib.metadata` would cost more than the rest of the
    import.
    """
    folder = folder or os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name.startswith("lmfast-")]
    except OSError:
        return  # in a zip file, or a folder that may not be listed: nothing can be said
    for name in names:
        if name.endswith((".dist-info", ".egg-info")):
            raise ImportError(
                f"the unrelated distribution 'lmfast' ({name}) is installed beside 'lmfast-kernels' in {folder}, and "
                "the two overwrite each other's files; to repair: pip uninstall lmfast lmfast-kernels, then "
                "pip install lmfast-kernels"
            )

"""Files that appear whole or not at all."""

from __future__ import annotations

import glob
import os
from contextlib import contextmanager
from pathlib import Path

import psutil


@contextmanager
def replacing(path: Path):
    """A name for a temporary file that takes the place of ``path`` in one step, once it is whole."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        if temporary.is_file():
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_temporary(path):
    """Remove what processes that were killed while they wrote ``path`` have left; nothing ever reads it."""
    for left in path.parent.glob(f"{glob.escape(path.name)}.*.tmp"):
        process = left.name.split(".")[-2]
        if process.isdigit() and not psutil.pid_exists(int(process)):
            left.unlink(missing_ok=True)

"""The folder of the property files."""

from __future__ import annotations

from pathlib import Path


def properties_dir() -> Path:
    """The folder of our property files: inside the installed package, or beside it in a checkout.

    Raises:
        FileNotFoundError: there is none.
    """
    here = Path(__file__).resolve().parent.parent
    for folder in (here / "properties", here.parent / "properties"):
        if (folder / "model").is_dir():
            return folder
    raise FileNotFoundError(f"recbole_ec4srec: no folder properties/ in {here} or beside it; install the package again")

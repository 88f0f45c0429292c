"""The file with the results of the trials of a search, from which a search resumes."""

from __future__ import annotations

import json
import os
from pathlib import Path

from recbole.trainer import HyperTuning

from recbole_ec4srec.console import tell
from recbole_ec4srec.errors import ConfigError
from recbole_ec4srec.storage.settings import differences


class Journal:
    """The results of the trials of a search, one JSON line each, after a line for the search itself.

    A search is defined by its space, the settings that all trials share and the data. Engine, algorithm and number of
    trials may change when it resumes.

    Args:
        file: it is read if it exists.
        search: the space, the settings and the data's fingerprint, in JSON's types.

    Raises:
        ConfigError: the file is the journal of another search, or none.
    """

    def __init__(self, file: str | Path, search: dict):
        self.file, self.records = Path(file), list[dict]()
        text = self.file.read_bytes() if self.file.is_file() else b""
        whole = text[: text.rfind(b"\n") + 1]  # a process that dies while writing leaves a part of a line
        if not text:
            self._append({"search": search})
            return
        try:
            first, *self.records = [json.loads(line) for line in whole.splitlines()]
            theirs, _ = first["search"], [record["params"] for record in self.records]
        except (ValueError, KeyError, TypeError):
            raise ConfigError(f"output_file: {file} is no journal of a search; give another --output_file") from None
        for part, here in search.items():
            if told := differences(theirs[part], here):
                raise ConfigError(
                    f"output_file: {file} is the journal of a search of other {part}: {told}; "
                    "give another --output_file, or remove it"
                )
        os.truncate(self.file, len(whole))

    def _append(self, line: dict) -> None:
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def add(self, record: dict) -> None:
        """Write the result of a trial, and tell it."""
        self._append(record)
        self.records.append(record)
        done = record["status"] == "ok"
        told = f"{record['best_valid_score']:.4f} on validation" if done else f"failed: {record['reason']}"
        tell(f"trial {len(self.records)}: {HyperTuning.params2str(record['params'])}: {told}")

    def find(self, point: dict) -> dict | None:
        """The result of the trial at a point, or None."""
        return next((record for record in self.records if record["params"] == point), None)

    @property
    def best(self) -> dict | None:
        """The first trial with the best validation score, or None."""
        return max((record for record in self.records if record["status"] == "ok"), key=score, default=None)

    @property
    def trials_since_best(self) -> int:
        """The number of trials after the best one; of all trials where none succeeded."""
        return len(self.records) - 1 - (self.records.index(self.best) if self.best else -1)


def score(record: dict) -> float:
    """The validation score of a trial, the larger the better."""
    return record["best_valid_score"] * (1 if record["valid_score_bigger"] else -1)

"""Loggers for experiment trackers: one for MLflow, with the interface of RecBole's for Weights & Biases."""

from __future__ import annotations

import json
from numbers import Real
from typing import Any

from recbole.config import Config
from recbole.utils import WandbLogger

from recbole_ec4srec.storage.settings import plain_settings

_PARAMS_AT_ONCE = 100  # of MLflow


class Tracker(WandbLogger):
    """RecBole's logger for Weights & Biases (``log_wandb``), which tells MLflow the same (``log_mlflow``).

    Where MLflow keeps it, and under which experiment, is MLflow's own to be told (``MLFLOW_TRACKING_URI``,
    ``MLFLOW_EXPERIMENT_NAME``). A training is a run; if one is active that is not ours, it is of that. The settings are
    its parameters. Names have ``_at_`` for ``@``, which MLflow refuses.
    """

    _run: Any = None  # of MLflow's, that is ours

    def setup(self) -> None:
        """RecBole's, and a run of MLflow's."""
        super().setup()
        self._mlflow = _start_run(self.config) if self.config["log_mlflow"] else None

    def log_metrics(self, metrics: dict, head: str | None = "train", commit: bool = True) -> None:
        """RecBole's; of MLflow ``<head>/<name>``, at the step that is among ``metrics``."""
        super().log_metrics(metrics, head, commit)
        step = next((int(value) for name, value in metrics.items() if name.endswith("_step")), None)
        self._tell(metrics, head, step)

    def log_eval_metrics(self, metrics: dict, head: str = "eval") -> None:
        """RecBole's; the last ones stay, which are those of the test."""
        super().log_eval_metrics(metrics, head)
        self._tell(metrics, head, None)

    def _tell(self, metrics, head, step):
        if self._mlflow is None:
            return
        told = {
            f"{head}/{name}".replace("@", "_at_"): float(value)
            for name, value in metrics.items()
            if isinstance(value, Real) and not name.endswith("_step")
        }
        self._mlflow.log_metrics(told, step=step)


def _start_run(config: Config) -> Any:
    """MLflow, with a run of this training's."""
    import mlflow

    active = mlflow.active_run()
    if active is not None and Tracker._run is not None and active.info.run_id == Tracker._run.info.run_id:
        mlflow.end_run()  # of the training before
        active = None
    if active is None:
        Tracker._run = mlflow.start_run(run_name=f"{config['model']}-{config['dataset']}")
    parameters = [
        (key, value if isinstance(value, str) else json.dumps(value)) for key, value in plain_settings(config).items()
    ]
    for first in range(0, len(parameters), _PARAMS_AT_ONCE):
        mlflow.log_params(dict(parameters[first : first + _PARAMS_AT_ONCE]))
    return mlflow

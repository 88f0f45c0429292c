"""What the experiments share: training a model, and writing tables."""

from __future__ import annotations

import csv
import statistics

from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_logger, init_seed

import recbole_ec4srec  # noqa: F401


class Trained:
    """A model trained as RecBole's quick start does it, with what belongs to it.

    Attributes:
        test: the metrics on the test set, of the best epoch on the validation set, whose weights ``model`` has.
    """

    def __init__(self, model: str, dataset: str, **settings):
        self.config = Config(model, dataset, config_dict={"show_progress": False, **settings})
        init_seed(self.config["seed"], self.config["reproducibility"])
        init_logger(self.config)
        self.train_data, valid_data, self.test_data = data_preparation(self.config, create_dataset(self.config))
        self.dataset = self.train_data._dataset
        init_seed(self.config["seed"], self.config["reproducibility"])
        self.model = get_model(self.config["model"])(self.config, self.dataset).to(self.config["device"])
        trainer = get_trainer(self.config["MODEL_TYPE"], self.config["model"])(self.config, self.model)
        _, self.valid = trainer.fit(self.train_data, valid_data, show_progress=False)
        self.test = trainer.evaluate(self.test_data, load_best_model=True)


def spread(values) -> str:
    """The mean of ``values``, and their standard deviation where there are several."""
    mean = f"{statistics.mean(values):.4f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.4f}"


def write_table(path, header, rows, caption: str) -> None:
    """Write ``path.md`` and ``path.csv``, and print the former."""
    lines = [caption, "", *(f"| {' | '.join(map(str, row))} |" for row in (header, ["---"] * len(header), *rows))]
    path.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with path.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    print("\n".join(lines))

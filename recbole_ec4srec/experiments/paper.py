"""The numbers that the paper prints, to compare ours with."""

from __future__ import annotations

import yaml

from recbole_ec4srec.config.properties import properties_dir

METRICS = ("hit@5", "hit@10", "ndcg@5", "ndcg@10")


def _printed() -> dict:
    """``properties/printed.yaml`` as ``{table or figure: {data set: {(label, metric): value}}}``."""
    content = yaml.safe_load((properties_dir() / "printed.yaml").read_text(encoding="utf-8"))
    return {
        name: {
            dataset: {
                (label, metric): value
                for metric, values in of_dataset.items()
                for label, value in zip(table["labels"], values)
                if value is not None
            }
            for dataset, of_dataset in table["datasets"].items()
        }
        for name, table in content.items()
    }


PRINTED = _printed()

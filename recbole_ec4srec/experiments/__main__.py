"""``python -m recbole_ec4srec.experiments NAME …``: see ``--help`` for the names."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from recbole_ec4srec.config import ConfigError
from recbole_ec4srec.experiments import explanations, table1

EXPERIMENTS = {
    "table1": (table1.table1, "CL4SRec on the synthetic data, masking at random or by an oracle (Table 1)"),
    "recovery": (explanations.recovery, "which explainer finds the important items of the synthetic data"),
    "faithfulness": (explanations.faithfulness, "which explainer is the most faithful on a data set's test sequences"),
}


def main(argv=None) -> int:
    listing = "\n".join(f"  {name:14}{text}" for name, (_, text) in EXPERIMENTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m recbole_ec4srec.experiments",
        description="Run an experiment and write its table (.md, .csv) and its figure (.png) to a folder.",
        epilog=f"experiments:\n{listing}\n\nAny setting of RecBole's or ours: --key=value.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=EXPERIMENTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="(default: 1)")
    parser.add_argument("--dataset", help="(default: the experiment's own)")
    parser.add_argument("--output", type=Path, default=Path("results"), help="(default: results)")
    args, settings = parser.parse_known_args(argv)
    unknown = [setting for setting in settings if not (setting.startswith("--") and "=" in setting)]
    if unknown:
        parser.error(f"got {unknown[0]}, allowed are the options above and --key=value")
    sys.argv = [sys.argv[0], *settings]  # where RecBole reads its settings from
    args.output.mkdir(parents=True, exist_ok=True)
    try:
        EXPERIMENTS[args.name][0](args)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""``run_hyper``: search hyper-parameters."""

from __future__ import annotations

import sys

from recbole_ec4srec import console
from recbole_ec4srec.commands.arguments import check_settings, files_of, parse_settings
from recbole_ec4srec.tuning.search import search


def main() -> None:
    """The console command ``run_hyper``: the flags of RecBole's ``run_hyper.py``."""
    parser = console.parser(
        "run_hyper",
        "Search hyper-parameters of a model of RecBole or of recbole_ec4srec on the validation set. "
        "Any setting: --key=value. A search that was killed goes on with the same command.",
        "examples:\n"
        "  run_hyper --model=EC4SRec --dataset=ml-100k --algo=bayes --max_evals=50\n"
        "  run_hyper --model=EC4SRec --dataset=ml-100k --tool=Ray --algo=random --max_evals=50\n"
        "  run_hyper --model=SASRec --dataset=ml-100k --params_file=my.test   (a line of it: n_layers choice [1,2])",
    )
    parser.add_argument("--model", "-m", help="name of the model (default: that of the files)")
    parser.add_argument("--dataset", "-d", help="name of the data set (default: that of the files)")
    parser.add_argument("--config_files", help="YAML files, separated by spaces; later ones win")
    parser.add_argument("--params_file", help="the space, in RecBole's format (default: the paper's for --model)")
    parser.add_argument(
        "--output_file", default="hyper_example.result", help="(default: %(default)s); beside it a journal, .jsonl"
    )
    parser.add_argument("--display_file", help="an HTML page with a plot of the trials")
    parser.add_argument("--algo", default="exhaustive", choices=("exhaustive", "random", "bayes"))
    parser.add_argument("--max_evals", type=int, default=10, help="trials of random and bayes (default: %(default)s)")
    parser.add_argument("--early_stop", type=int, default=10, help="trials without a better one (default: %(default)s)")
    parser.add_argument("--tool", default="Hyperopt", choices=("Hyperopt", "Ray"), help="one trial at a time, or many")
    parser.add_argument("--max_concurrent", type=int, help="trials of Ray at a time (default: one for each CPU or GPU)")
    args, asked = parse_settings(parser, "tell warnings alone, no bars, and the best trial")
    options = {name: value for name, value in vars(args).items() if name not in ("verbose", "quiet", "traceback")}
    options["config_files"] = files_of(args.config_files)

    def search_space():
        check_settings(sys.argv[1:])
        search(**options, asked=asked)

    console.run(search_space, args)

"""``run_hyper``: search hyper-parameters."""

from __future__ import annotations

from recbole_ec4srec import console
from recbole_ec4srec.commands.arguments import check_settings, file_of, files_of, parse_settings
from recbole_ec4srec.tuning.search import DEFAULT_TOOL, search


def main() -> None:
    """The console command ``run_hyper``: the flags of RecBole's ``run_hyper.py``."""
    parser = console.parser(
        "run_hyper",
        "Search hyper-parameters of a model of RecBole or of recbole_ec4srec on the validation set. "
        "Any setting: --key=value. With Optuna the same command resumes a search that was interrupted, and several "
        "commands at once share it.",
        "examples:\n"
        "  run_hyper --model=EC4SRec --dataset=ml-100k --algo=bayes --max_evals=50 --plot=search.svg\n"
        "  run_hyper --model=EC4SRec --dataset=ml-100k --algo=random --storage=postgresql://user:password@host/searches\n"
        "  run_hyper --model=SASRec --dataset=ml-100k --params_file=my.test   (a line of it: n_layers choice [1,2])",
    )
    parser.add_argument("--model", "-m", help="name of the model (default: that of the files)")
    parser.add_argument("--dataset", "-d", help="name of the data set (default: that of the files)")
    parser.add_argument("--config_files", help="YAML files, separated by spaces; later files win")
    parser.add_argument(
        "--params_file", help="the search space, in RecBole's format (default: the paper's for --model)"
    )
    parser.add_argument(
        "--output_file", default="hyper_example.result", help="results; the name of the search (default: %(default)s)"
    )
    parser.add_argument(
        "--algo",
        default="exhaustive",
        choices=("exhaustive", "random", "bayes"),
        help="all points, random ones, or by TPE (default: %(default)s)",
    )
    parser.add_argument(
        "--max_evals", type=int, default=10, help="number of trials of random and bayes (default: %(default)s)"
    )
    parser.add_argument(
        "--early_stop",
        type=int,
        default=10,
        help="stop after this many trials without a better one (default: %(default)s)",
    )
    parser.add_argument(
        "--tool",
        default=DEFAULT_TOOL,
        choices=("Optuna", "Hyperopt", "Ray"),
        help="Optuna, or RecBole's: Hyperopt, one trial at a time, or Ray, several (default: Optuna where installed)",
    )
    parser.add_argument("--storage", help="with Optuna: URL of its database (default: the SQLite file OUTPUT_FILE.db)")
    parser.add_argument(
        "--pruner",
        choices=("median", "halving", "none"),
        help="with Optuna: what prunes unpromising trials after their first importance update (default: median)",
    )
    parser.add_argument(
        "--plot",
        "--display_file",
        type=file_of(".svg", ".png", ".pdf"),
        help="with Optuna: x.svg draws x-history.svg and x-importances.svg, the trials and what each parameter matters",
    )
    parser.add_argument(
        "--max_concurrent", type=int, help="with Ray: trials at a time (default: one for each CPU or GPU)"
    )
    args, asked, settings = parse_settings(parser, "print only warnings and the best trial, no progress bars")
    options = {name: value for name, value in vars(args).items() if name not in ("verbose", "quiet", "traceback")}
    options["config_files"] = files_of(args.config_files)

    def search_space():
        check_settings(settings)
        search(**options, asked=asked)

    go_on = "resumes the search" if args.tool == "Optuna" else "starts anew"
    console.run(search_space, args, f"the same command {go_on}", settings)

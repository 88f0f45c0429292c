"""Running experiments: the Python functions and the console commands."""

from __future__ import annotations

import json
import sys

import recbole.quick_start.quick_start as recbole_quick_start
from torch.multiprocessing import ProcessRaisedException

from recbole_ec4srec import console
from recbole_ec4srec.config import recbole_keys
from recbole_ec4srec.config.keys import KEYS
from recbole_ec4srec.errors import ConfigError, DataError, NonFiniteError
from recbole_ec4srec.plugin import registry


def run(model, dataset, config_file_list=None, config_dict=None, saved=True, **processes) -> dict:
    """Train, validate and test a model.

    Args:
        model: a name, RecBole's or ours, or a class (which becomes known to RecBole by its name).
        dataset: RecBole's name of the data set.
        config_file_list: YAML files, later ones win.
        config_dict: settings that win over the files.
        saved: keep the best checkpoint.
        processes: ``nproc``, ``world_size``, ``ip``, ``port``, ``group_offset`` of RecBole's ``run``.

    Returns:
        RecBole's result: ``best_valid_score``, ``valid_score_bigger``, ``best_valid_result``, ``test_result``.

    Raises:
        RunError: it cannot start or go on: a ConfigError, before the data is loaded; a DataError; a NonFiniteError.
        ProcessRaisedException, ProcessExitedException: of several processes one failed, and the others were ended.
    """
    if isinstance(model, type):
        model = registry.name_of(model)
    try:
        return recbole_quick_start.run(model, dataset, config_file_list, config_dict, saved, **processes)
    except ProcessRaisedException as error:  # its text is that of the process's exception, with the traceback
        for kind in (ConfigError, DataError, NonFiniteError):
            _, refused, reason = str(error).rpartition(f"{kind.__module__}.{kind.__name__}: ")
            if refused:
                raise kind(reason.strip()) from None
        raise
    except ModuleNotFoundError as error:  # some models of RecBole's need more than RecBole does
        raise ConfigError(f"model: got {model!r}, which needs {error.name}, which is not installed") from error


def objective_function(config_dict=None, config_file_list=None, saved=True) -> dict:
    """RecBole's objective for ``HyperTuning`` and Ray Tune, for our models too (also in a fresh worker process)."""
    return recbole_quick_start.objective_function(config_dict, config_file_list, saved)


def _files(text):
    return text.strip().split() if text else None


def _parse(parser, quiet):
    """The command's own options, and what they, or an output that nobody watches, mean among RecBole's settings; the
    command line keeps the settings."""
    console.add_options(parser, "tell what is for debugging too", quiet)
    args, sys.argv[1:] = parser.parse_known_args()
    asked = {} if console.show_bars(args) else {"show_progress": False}
    if args.verbose or args.quiet:
        asked["state"] = "WARNING" if args.quiet else "DEBUG"
    return args, asked


def _check_settings(arguments) -> None:
    """Refuse what RecBole would not read of the command line, which it only warns of, if at all.

    Raises:
        ConfigError: something is no ``--key=value``, or a key that nobody reads.
    """
    for argument in arguments:
        if not argument.startswith("--") or argument.count("=") != 1:
            raise ConfigError(f"command line: got {argument!r}, allowed is --key=value, with no other =")
    keys = [argument[2:].partition("=")[0] for argument in arguments]
    recbole_keys.refuse_unknown(keys, {*KEYS, *recbole_keys.GENERAL})


def run_recbole_command() -> None:
    """The console command ``run_recbole``: the flags of RecBole's ``run_recbole.py``."""
    parser = console.parser(
        "run_recbole",
        "Train and test a model of RecBole or of recbole_ec4srec. Any setting: --key=value.",
        "examples:\n"
        "  run_recbole --model=EC4SRec --dataset=ml-100k --epochs=40 --num_updates=3\n"
        "  run_recbole --model=EC4SRec --dataset=ml-100k --resume=auto     goes on where it was interrupted\n"
        "  run_recbole --model=SASRec --dataset=ml-100k --config_files='properties/paper.yaml my.yaml' -q",
    )
    parser.add_argument("--model", "-m", default="EC4SRec", help="name of the model (default: %(default)s)")
    parser.add_argument("--dataset", "-d", default="ml-100k", help="name of the data set (default: %(default)s)")
    parser.add_argument("--config_files", help="YAML files, separated by spaces; later ones win")
    parser.add_argument("--nproc", type=int, default=1, help="processes on this machine (default: %(default)s)")
    parser.add_argument("--ip", default="localhost", help="address of the master (default: %(default)s)")
    parser.add_argument("--port", default="5678", help="port of the master (default: %(default)s)")
    parser.add_argument("--world_size", type=int, default=-1, help="processes on all machines (default: --nproc)")
    parser.add_argument("--group_offset", type=int, default=0, help="rank of this machine's first process")
    args, asked = _parse(parser, "tell warnings alone, no bars, and the test result as JSON")
    processes = {name: getattr(args, name) for name in ("nproc", "world_size", "ip", "port", "group_offset")}

    def train():
        _check_settings(sys.argv[1:])
        result = run(args.model, args.dataset, _files(args.config_files), asked, **processes)
        if args.quiet and result:
            print(json.dumps(result["test_result"]))

    console.run(train, args)


def run_hyper_command() -> None:
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
    args, asked = _parse(parser, "tell warnings alone, no bars, and the best trial")
    options = {name: value for name, value in vars(args).items() if name not in ("verbose", "quiet", "traceback")}
    options["config_files"] = _files(args.config_files)

    def search():
        from recbole_ec4srec import tuning  # which needs this module

        _check_settings(sys.argv[1:])
        tuning.search(**options, asked=asked)

    console.run(search, args)

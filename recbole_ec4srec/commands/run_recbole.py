"""``run_recbole``: train and test a model."""

from __future__ import annotations

import json

from recbole_ec4srec import console
from recbole_ec4srec.commands.arguments import check_settings, files_of, parse_settings
from recbole_ec4srec.quick_start import run
from recbole_ec4srec.training.distributed import is_first


def main() -> None:
    """The console command ``run_recbole``: the flags of RecBole's ``run_recbole.py``."""
    parser = console.parser(
        "run_recbole",
        "Train and test a model of RecBole or of recbole_ec4srec. Any setting: --key=value.",
        "examples:\n"
        "  run_recbole --model=EC4SRec --dataset=ml-100k --epochs=40 --num_updates=3\n"
        "  run_recbole --model=EC4SRec --dataset=ml-100k --resume=auto     resumes if it was interrupted\n"
        "  run_recbole --model=EC4SRec --dataset=ml-100k --nproc=2 --ddp_backend=gloo     two processes, on the CPU\n"
        "  torchrun --nproc_per_node=2 --max-restarts=3 -m recbole_ec4srec --model=EC4SRec --resume=auto\n"
        "  run_recbole --model=SASRec --dataset=ml-100k --config_files='properties/paper.yaml my.yaml' -q",
    )
    parser.add_argument("--model", "-m", default="EC4SRec", help="name of the model (default: %(default)s)")
    parser.add_argument("--dataset", "-d", default="ml-100k", help="name of the data set (default: %(default)s)")
    parser.add_argument("--config_files", help="YAML files, separated by spaces; later files win")
    nproc = "processes on this machine, if torchrun has not started them (default: %(default)s)"
    parser.add_argument("--nproc", type=int, default=1, help=nproc)
    parser.add_argument("--ip", default="localhost", help="address of the first machine (default: %(default)s)")
    parser.add_argument("--port", default="5678", help="port of the first machine (default: %(default)s)")
    parser.add_argument("--world_size", type=int, default=-1, help="processes on all machines (default: --nproc)")
    parser.add_argument("--group_offset", type=int, default=0, help="rank of this machine's first process")
    args, asked, settings = parse_settings(parser, "print only warnings and the test result as JSON, no progress bars")
    processes = {name: getattr(args, name) for name in ("nproc", "world_size", "ip", "port", "group_offset")}

    def train():
        check_settings(settings)
        result = run(args.model, args.dataset, files_of(args.config_files), asked, **processes)
        if args.quiet and result and is_first():
            print(json.dumps(result["test_result"]))

    several = max(args.nproc, args.world_size) > 1
    resumes = "with --resume=auto the same command resumes after the last completed epoch, without it starts anew"
    console.run(train, args, **({"go_on": resumes} if several else {}), settings=settings)

"""``python -m recbole_ec4srec SCRIPT …`` runs an unmodified RecBole script in which our models are known; with options
alone it is the command ``run_recbole``. ``torchrun --nproc_per_node=2 -m recbole_ec4srec …`` starts several processes.
"""

import runpy
import sys

from recbole_ec4srec.commands import run_recbole

USAGE = """usage: python -m recbole_ec4srec SCRIPT [the script's own arguments]
       python -m recbole_ec4srec --model=MODEL --dataset=DATASET [--key=value]    as run_recbole"""


def main() -> None:
    """Run the script that the first argument names, or the command; without any print the usage and end with status
    2."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__, USAGE, sep="\n")
        sys.exit(0 if len(sys.argv) > 1 else 2)
    if sys.argv[1].startswith("-"):
        run_recbole.main()
        return
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()

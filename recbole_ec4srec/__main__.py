"""``python -m recbole_ec4srec SCRIPT …``: runs an unmodified RecBole script in which our models are known."""

import runpy
import sys

USAGE = "usage: python -m recbole_ec4srec SCRIPT [the script's own arguments]"


def main() -> None:
    """Run the script that the first argument names; without one, print the usage and end with status 2."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__, USAGE, sep="\n\n")
        sys.exit(0 if len(sys.argv) > 1 else 2)
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()

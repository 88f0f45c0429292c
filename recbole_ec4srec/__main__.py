"""``python -m recbole_ec4srec SCRIPT …``: runs a RecBole script, unmodified, with our models known to it."""

import runpy
import sys

USAGE = "usage: python -m recbole_ec4srec SCRIPT [the script's own arguments]"


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__, USAGE, sep="\n\n")
        sys.exit(0 if len(sys.argv) > 1 else 2)
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()

"""Train and test a model: ``python run_recbole_ec4srec.py --model=EC4SRec --dataset=ml-100k``."""

from recbole_ec4srec.quick_start import run_recbole_command

if __name__ == "__main__":
    run_recbole_command()

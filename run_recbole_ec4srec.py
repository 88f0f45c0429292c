"""Train and test a model: ``python run_recbole_ec4srec.py --model=EC4SRec --dataset=ml-100k``."""

from recbole_ec4srec.commands.run_recbole import main

if __name__ == "__main__":
    main()

"""The paper's experiments, and some that it has not: ``python -m recbole_ec4srec.experiments NAME …``."""

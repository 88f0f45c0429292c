"""The models of the paper, and CL4SRec and DuoRec."""

from recbole_ec4srec.model.ec4srec import CL4SRec, DuoRec, EC4SRec, EC4SRecSL, EC4SRecSSL

__all__ = ["CL4SRec", "DuoRec", "EC4SRec", "EC4SRecSL", "EC4SRecSSL"]

"""EC4SRec as a RecBole plugin: explanation-guided contrastive learning for sequential recommendation.

Importing the package makes ``EC4SRec``, ``EC4SRecSSL``, ``EC4SRecSL``, ``CL4SRec`` and ``DuoRec`` known to RecBole's
own entry points.
"""

from recbole_ec4srec.plugin import compat

compat.apply()  # before RecBole is first used

from recbole_ec4srec.config.objective import LossTerm, Operator
from recbole_ec4srec.config.recbole_keys import register_keys
from recbole_ec4srec.data.operators import register_operator
from recbole_ec4srec.errors import ConfigError, DataError, NonFiniteError, ProcessLost, RunError
from recbole_ec4srec.explain import Explainer, register_explainer
from recbole_ec4srec.model import CL4SRec, DuoRec, EC4SRec, EC4SRecSL, EC4SRecSSL
from recbole_ec4srec.model.objective import register_loss
from recbole_ec4srec.plugin.hooks import register
from recbole_ec4srec.plugin.registry import register_model
from recbole_ec4srec.quick_start import objective_function, run
from recbole_ec4srec.storage.pickles import allow_in_checkpoints
from recbole_ec4srec.version import __version__

register()

__all__ = [
    "CL4SRec",
    "ConfigError",
    "DataError",
    "DuoRec",
    "EC4SRec",
    "EC4SRecSL",
    "EC4SRecSSL",
    "Explainer",
    "LossTerm",
    "NonFiniteError",
    "Operator",
    "ProcessLost",
    "RunError",
    "__version__",
    "allow_in_checkpoints",
    "objective_function",
    "register_explainer",
    "register_keys",
    "register_loss",
    "register_model",
    "register_operator",
    "run",
]

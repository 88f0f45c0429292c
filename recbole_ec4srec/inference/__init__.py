"""Using a trained model: recommendations for any histories, and what in a history they come from."""

from recbole_ec4srec.inference.explanation import Explanation, explain_sequences
from recbole_ec4srec.inference.histories import read_histories
from recbole_ec4srec.inference.recommendation import recommend
from recbole_ec4srec.inference.trained import TrainedModel

__all__ = ["Explanation", "TrainedModel", "explain_sequences", "read_histories", "recommend"]

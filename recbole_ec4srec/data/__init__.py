"""Data set, training loader, augmentation and retrieval."""

from recbole_ec4srec.data.dataloader import EC4SRecTrainDataLoader
from recbole_ec4srec.data.dataset import EC4SRecDataset, SequenceBatch
from recbole_ec4srec.data.importance import ImportanceTable

__all__ = ["EC4SRecDataset", "EC4SRecTrainDataLoader", "ImportanceTable", "SequenceBatch"]

"""RecBole's sequential recommenders as encoders of sequences with a mask item."""

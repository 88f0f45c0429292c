"""Files that survive: written whole or not at all, fingerprints of settings, checkpoints as data."""

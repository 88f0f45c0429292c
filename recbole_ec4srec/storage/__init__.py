"""Files written completely or not at all, fingerprints of settings, checkpoints as data."""

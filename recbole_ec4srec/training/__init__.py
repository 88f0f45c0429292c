"""Training: the schedule of importance updates, resuming, several processes."""

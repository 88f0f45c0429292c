"""What a user may set: keys with their rules, the variants of the model, the schedule, property files."""

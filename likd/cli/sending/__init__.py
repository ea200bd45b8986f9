"""The parts of `likd send`: from files to spans of lines, to batches, to the daemon, each line once."""

"""The parts of `likd send`: from files to ranges of lines of lines, to batches, to the daemon, each line once."""

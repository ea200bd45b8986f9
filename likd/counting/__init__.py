"""Takes a Submission to a table: groups, counters, the pool, actors."""

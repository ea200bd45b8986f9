"""From a table to the store, at the rate that it tolerates."""

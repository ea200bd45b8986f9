"""Takes tables to the store, at the rate that it tolerates."""

"""Front processes: they speak HTTP, one engine counts."""

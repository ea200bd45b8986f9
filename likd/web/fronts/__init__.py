"""Front processes: they handle HTTP, and one engine counts."""

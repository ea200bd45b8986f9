"""What scripts/chaos does to daemons: one, or several on one store."""

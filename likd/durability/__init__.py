"""What is on disk: the journal, batch files, idempotency keys and dead letters, and how they are read back."""

"""What is on disk: the journal, batch files, idempotency keys, dead letters, and how they are read back."""

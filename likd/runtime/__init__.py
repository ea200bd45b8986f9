"""What any daemon needs, and knows nothing of likes: supervision, clocks, logs, slices of work on the event loop."""

"""What any daemon needs, independent of likes: supervision, clocks, logs, slices of work on the event loop."""

"""What is asked: totals, top lists, trends, live changes, merges."""

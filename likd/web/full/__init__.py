"""The full lane: every other request, by Quart on Hypercorn."""

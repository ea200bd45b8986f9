"""The HTTP server and all that it answers."""

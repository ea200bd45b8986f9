"""The HTTP server and everything it answers."""

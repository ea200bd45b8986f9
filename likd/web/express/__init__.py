"""The express lane: plain requests for what is asked most, on bare sockets."""

"""The express lane: the most frequent requests in their plainest form, on bare sockets."""

"""The live lane: websockets that watch, by the thousand, on bare sockets."""

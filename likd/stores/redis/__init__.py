"""The store in a cluster of Redis or Valkey, which several data directories may share."""

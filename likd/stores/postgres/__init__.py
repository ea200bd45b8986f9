"""The store in a PostgreSQL database, which several data directories may share."""

"""The answers of the API, for all lanes."""

"""Who may do what: tokens, sessions, origins, limits."""

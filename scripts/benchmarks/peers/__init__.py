"""Others that do the same work: each is started if it is installed; if not, it says in a line what is missing."""

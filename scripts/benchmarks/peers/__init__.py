"""Others that do the same work: each is started where it is installed, else it says in a line what is lacking."""

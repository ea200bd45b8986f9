"""Turns bytes into a Submission: JSON, actors, bodies, canonical URLs."""

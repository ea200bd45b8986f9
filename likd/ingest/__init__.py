"""From bytes to a Submission: JSON, actors, bodies, canonical URLs."""

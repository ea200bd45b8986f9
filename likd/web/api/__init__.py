"""What is answered, whichever lane asks."""

"""What the golden archive tells: its story, and the form in which its expected states are written down."""

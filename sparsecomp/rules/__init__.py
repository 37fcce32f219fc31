"""What zeros do in an operator, by family."""

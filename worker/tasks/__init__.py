"""What engines dispatch: frozen tasks, and the function that does each."""

"""The coordinator: runs rounds, opens sums, keeps the model and the record."""

"""How a sparse weight is stored, as values."""

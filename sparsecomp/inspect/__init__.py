"""Looking at models and programs: metrics of sparsity, size and work."""

"""Wire formats: vectors, and bytes spoilt at every place."""

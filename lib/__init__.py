"""Vecscope: see how well a pgvector search works, and make it better."""

"""Finding: lexical index, vector index, fusion."""

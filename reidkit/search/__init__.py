"""Who is nearest among very many: re-ranking by common neighbours, galleries on disk, approximate search."""

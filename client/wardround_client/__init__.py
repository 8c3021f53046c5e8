"""A site: reads its own archive, trains locally, sends masked updates only."""

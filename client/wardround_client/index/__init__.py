"""The site's index of its archive: header scan into SQLite."""

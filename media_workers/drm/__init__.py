"""Content keys: made, wrapped, kept, fetched from key servers, and lent to the packager."""

"""An index in a file: what the headers of an archive say, read once."""

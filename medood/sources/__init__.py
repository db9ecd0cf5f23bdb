"""Files to volumes in physical values: one kind of source or one published cohort a file."""

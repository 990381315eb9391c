"""Pages to read in a browser: their skeleton and style, figures, mathematics, and the report of a run."""

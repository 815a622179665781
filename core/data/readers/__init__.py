"""Files of structures, read row by row: what is good is kept, what is not is named with its place."""

"""One module for each picture of the catalogue."""

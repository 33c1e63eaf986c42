"""Reports scaling: measured points beside predictions, as a page."""

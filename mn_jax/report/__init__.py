"""What came of runs and studies, as pages and tables that people read."""

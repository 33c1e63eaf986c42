"""Pages and tables about runs and studies."""

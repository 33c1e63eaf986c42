"""What a run shows of itself: metrics, time, progress, figures."""

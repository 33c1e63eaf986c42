"""Formulations of operations that suit TPUs."""

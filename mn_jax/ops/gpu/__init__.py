"""Formulations for GPUs, chosen by compiled bytes."""

"""Augmentation and normalisation of images on the device."""

"""Saliency maps, embeddings and slide maps of a trained network."""

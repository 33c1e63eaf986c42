"""Pretrained weights of Keras Applications, timm and torchvision."""

"""Recipes that config files share: one per data set, and their variants.

A function returns a config to change; a dictionary, {'section.field': value},
is a variant for `mn_jax.config.variant`.
"""

import ml_collections

from mn_jax.config.experiment import default


def _recipe() -> ml_collections.ConfigDict:
  """Small images with no canonical orientation, from scratch, on a CPU."""
  config = default()
  # A run has about a hundred steps per epoch. Running statistics of the last
  # ten steps follow the weights; Keras's, of the last hundred or thousand, lag.
  config.model.norm_momentum = 0.9
  config.augment.flip = "both"
  config.augment.quarter_turns = True
  config.optim.name = "adamw"
  config.optim.learning_rate = 1e-3
  config.optim.weight_decay = 0.01
  config.optim.schedule = "cosine"
  config.optim.warmup_epochs = 1.0
  config.train.batch_size = 64
  config.train.epochs = 15.0
  return config


def idc() -> ml_collections.ConfigDict:
  """IDC patches at 50x50, split by patient."""
  config = _recipe()
  config.data.name = "idc"
  config.data.split = "grouped"
  config.data.image_size = 50
  return config


def eurosat() -> ml_collections.ConfigDict:
  """EuroSAT RGB tiles at 64x64, split by image, each class in proportion."""
  config = _recipe()
  config.data.name = "eurosat"
  config.data.split = "stratified"
  config.data.image_size = 64
  return config


def chest_xray() -> ml_collections.ConfigDict:
  """Chest X-rays at 224x224: the published test, validation by person."""
  config = _recipe()
  config.data.name = "chest_xray"
  config.data.split = "fixed"
  config.data.image_size = 224
  # The heart is on one side, and the head is up.
  config.augment.flip = "none"
  config.augment.quarter_turns = False
  config.augment.crop_scale = 0.8
  config.augment.brightness = 0.2
  config.augment.contrast = 0.2
  # One in four training images is normal, but three in eight of the test.
  config.train.class_weights = "balanced"
  config.train.batch_size = 32
  config.train.epochs = 10.0
  return config


def colorectal() -> ml_collections.ConfigDict:
  """Colorectal tiles at 150x150, one slide left out for the test."""
  config = _recipe()
  config.data.name = "colorectal_histology"
  config.data.split = "kfold"
  config.data.folds = 0  # one per slide
  config.data.image_size = 150
  config.augment.stain = 0.05
  config.train.batch_size = 32
  config.train.epochs = 30.0
  return config


def cifar100() -> ml_collections.ConfigDict:
  """Classes 0 to 9 of CIFAR-100, resized to 64x64; the published test."""
  config = _recipe()
  config.data.name = "cifar100"
  config.data.classes = 10
  config.data.split = "fixed"
  config.data.val_fraction = 0.1
  config.data.image_size = 32
  config.model.resolution = 64
  config.augment.flip = "horizontal"
  config.augment.quarter_turns = False
  config.augment.crop_padding = 4
  config.train.epochs = 60.0
  return config


def photographs() -> ml_collections.ConfigDict:
  """Photographs, center-cropped to 224x224."""
  config = _recipe()
  config.data.image_size = 224
  config.data.other_sizes = "crop"
  config.augment.flip = "horizontal"
  config.augment.quarter_turns = False
  config.augment.crop_scale = 0.35
  config.train.label_smoothing = 0.1
  return config


def imagenet() -> ml_collections.ConfigDict:
  """ImageNet at 224x224, crops from whole photographs, for accelerators."""
  config = photographs()
  config.data.name = "imagenet2012"
  config.data.split = "fixed"
  config.data.val_fraction = 0.01
  config.data.short_side = 256
  config.data.crop_share = 0.875
  config.augment.crop_scale = 0.08
  config.model.dtype = "bfloat16"
  config.train.ema_decay = 0.9999
  return config


# A whole run on an embedded sample, in about a minute on two CPU cores.
_SAMPLE = {"optim.learning_rate": 3e-3, "observe.log_every_steps": 10}

# A run on an embedded sample in seconds, with several checkpoints.
_TEST = {
  **_SAMPLE,
  "model.width": 0.25,
  "train.batch_size": 32,
  "train.epochs": 6.0,
  "optim.learning_rate": 1e-3,
  "optim.warmup_epochs": 0.0,
}

IDC_SAMPLE = {"data.name": "idc_sample", **_SAMPLE}
IDC_TEST = {"data.name": "idc_sample", **_TEST}

# A study or sweep on generated images, each run in seconds.
IDC_STUDY = {
  "data.name": "idc_sample",
  "data.image_size": 16,
  "model.width": 0.25,
  "train.epochs": 1.0,
  "optim.warmup_epochs": 0.0,
}

EUROSAT_SAMPLE = {"data.name": "eurosat_sample", **_SAMPLE}
EUROSAT_TEST = {"data.name": "eurosat_sample", **_TEST}

XRAY_SAMPLE = {
  "data.name": "chest_xray_sample",
  "data.image_size": 64,
  "train.epochs": 15.0,
  **_SAMPLE,
}
XRAY_TEST = {**XRAY_SAMPLE, **_TEST}

COLORECTAL_SAMPLE = {
  "data.name": "colorectal_histology_sample",
  "data.image_size": 64,
  **_SAMPLE,
}
COLORECTAL_TEST = {**COLORECTAL_SAMPLE, **_TEST}

CIFAR_SAMPLE = {"data.name": "cifar100_sample", "train.epochs": 30.0, **_SAMPLE}
CIFAR_TEST = {**CIFAR_SAMPLE, "model.resolution": 0, **_TEST}

# Textures in folders by class stand in for photographs.
FOLDER_SAMPLE = {
  "data.name": "eurosat_sample",
  "data.split": "stratified",
  "data.image_size": 64,
  "train.epochs": 15.0,
  **_SAMPLE,
}
FOLDER_TEST = {**FOLDER_SAMPLE, **_TEST}

# Recipes for ImageNet, on the same textures.
_IMAGENET_SMALL = {
  "data.val_fraction": 0.15,
  "data.crop_share": 1.0,
  "model.dtype": "float32",
  "optim.warmup_epochs": 1.0,
  "train.batch_size": 64,
  "train.ema_decay": 0.0,
}
IMAGENET_SAMPLE = {**FOLDER_SAMPLE, **_IMAGENET_SMALL}
IMAGENET_TEST = {**_IMAGENET_SMALL, **FOLDER_TEST}

# MobileNetV4-Conv-Small's: Model Garden's imagenet_mobilenetv4_conv_small_tpu.
# Not here: the L2 of 1e-5 that it has in the loss beside the decoupled decay,
# BatchNorm's epsilon of 1e-6, float32 throughout, and averages that start after
# the warm-up.
MOBILENET_V4_SMALL = {
  "model.norm_momentum": 0.95,
  "model.dropout": 0.3,
  "augment.randaugment": 2,
  "augment.randaugment_space": "mobilenet_v4_small",
  "augment.randaugment_magnitude": 9.0,
  "augment.randaugment_probability": 0.5,
  "optim.name": "adamw",
  "optim.b1": 0.6,
  "optim.epsilon": 1e-6,
  "optim.learning_rate": 2e-3,
  "optim.weight_decay": 0.01,
  "optim.schedule": "cosine",
  "optim.warmup_epochs": 5.0,
  "train.batch_size": 4096,
}
# timm's `ra` template, from the command that it published for MobileNetV3-Large
# (75.8 % top-1). Not here: noise of the learning rate, random colours per pixel
# of erased rectangles, bicubic interpolation. The rates of drop path end at
# this one, those of timm's MobileNets a block below.
TIMM_RA = {
  "model.norm_momentum": 0.9,
  "model.dropout": 0.2,
  "model.drop_path": 0.2,
  "augment.randaugment": 2,
  "augment.randaugment_space": "timm",
  "augment.randaugment_magnitude": 9.0,
  "augment.randaugment_std": 0.5,
  "augment.randaugment_probability": 0.5,
  "augment.erasing": 0.2,
  "optim.name": "rmsprop",
  "optim.b2": 0.9,
  "optim.epsilon": 1e-3,
  "optim.learning_rate": 0.064,
  "optim.weight_decay": 1e-5,
  "optim.schedule": "exponential",
  "optim.decay_every_epochs": 2.4,
  "optim.decay_factor": 0.973,
  "optim.warmup_epochs": 3.0,
  "train.batch_size": 1024,
  "train.epochs": 600.0,
}

# From pretrained weights, model.weights=FILE: all parameters trained, starting
# with running statistics of the new images; or a head on fixed features, which
# are computed once and therefore without augmentation.
FINE_TUNE = {"model.transfer": "fine_tune", "model.match_statistics": 2048}
FROZEN = {
  "model.transfer": "frozen",
  **{f"augment.{name}": value for name, value in default().augment.items()},
}

# IDC from ImageNet weights. At 50 pixels a network with a stride of 32 ends in
# a map of 2x2; enlarged to 96 it sees the patch at sizes nearer those of
# ImageNet. Two in seven patches are positive, and slides are stained unevenly.
IDC_BEST = {
  **FINE_TUNE,
  "model.resolution": 96,
  "augment.stain": 0.1,
  "optim.learning_rate": 5e-4,
  "train.class_weights": "balanced",
  "train.ema_decay": 0.99,
  "train.epochs": 5.0,
}

# Ten classes of CIFAR-100 from scratch: 450 images of each are memorised within
# 40 epochs, so they are changed and mixed for long.
CIFAR_BEST = {
  "augment.cutmix": 1.0,
  "augment.mixup": 0.2,
  "model.dropout": 0.2,
  "optim.learning_rate": 2e-3,
  "optim.weight_decay": 0.05,
  "optim.warmup_epochs": 5.0,
  "train.label_smoothing": 0.1,
  "train.ema_decay": 0.998,
  "train.epochs": 150.0,
}
# The same from ImageNet weights, enlarged to a size nearer that of ImageNet.
CIFAR_FINE_TUNE = {
  **FINE_TUNE,
  "augment.mixup": 0.2,
  "model.resolution": 128,
  "optim.learning_rate": 5e-4,
  "train.batch_size": 32,
  "train.label_smoothing": 0.1,
  "train.ema_decay": 0.99,
  "train.epochs": 12.0,
}

# Chest X-rays from ImageNet weights. Normal images of the test are less sharp
# than those of training, where sharpness and black borders alone tell most of
# them from pneumonia: crops of any scale and TrivialAugment, which changes
# sharpness and contrast, leave less of both to learn (docs/data.md).
XRAY_BEST = {
  **FINE_TUNE,
  "augment.crop_scale": 0.4,
  "augment.mixup": 0.2,
  "augment.randaugment": 1,
  "augment.randaugment_space": "trivial_wide",
  "model.dropout": 0.2,
  "model.resolution": 160,
  "optim.learning_rate": 3e-4,
  "train.label_smoothing": 0.1,
  "train.ema_decay": 0.99,
  "train.epochs": 8.0,
}

# The protocol of the published comparison of MobileNetV1 and V2: patients on
# both sides of the split, plain Adam, no augmentation, and running statistics
# that are not debiased.
IDC_SOURCE = {
  "data.split": "random",
  "model.norm_debias": False,
  "augment.flip": "none",
  "augment.quarter_turns": False,
  "optim.name": "adam",
  "optim.learning_rate": 1e-4,
  "optim.weight_decay": 0.0,
  "optim.schedule": "constant",
  "optim.warmup_epochs": 0.0,
  "train.batch_size": 32,
  "train.epochs": 5.0,
}

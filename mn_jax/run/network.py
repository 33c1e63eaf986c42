"""The network before the first step: described, initialised or loaded."""

import dataclasses
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import numpy as np

from mn_jax.config import Config
from mn_jax.config.experiment import resolution, train_resolution
from mn_jax.errors import InputError
from mn_jax.models import layers, registry, variables
from mn_jax.models.classifier import Classifier
from mn_jax.parallel import mesh as mesh_lib
from mn_jax.run import calibrate, recalibrate, weights_of_run
from mn_jax.train.rules import FREEZE_BACKBONE, Rules
from mn_jax.weights import locate
from mn_jax.weights import pretrained as pretrained_lib


@dataclasses.dataclass(frozen=True)
class Initial:
  """A network before its first step.

  Attributes:
    network: its definition, with the conventions of its weights.
    module: the network.
    values: 'params' and 'batch_stats', f32 NumPy arrays.
    rules: what is trained, and how.
    origin: of pretrained weights; None without.
  """

  network: registry.Network
  module: Classifier
  values: dict
  rules: Rules
  origin: pretrained_lib.Origin | None


def check(config: Config, *, revision: str = "") -> None:
  """Checks all that can be checked before any data is read.

  Weights that are asked for by a name are downloaded.

  Args:
    config: sections model, optim and data.
    revision: of pretrained weights, as `build` takes it.

  Raises:
    InputError: for an unknown name, a missing file, malformed rules, or fields
      that contradict each other.
  """
  model = config.model
  network = describe(config, num_classes=1)
  if model.drop_path and not registry.get(model.name).residual:
    others = [n for n, spec in registry.MODELS.items() if spec.residual]
    raise InputError(
      f"model.drop_path: got {model.drop_path:g} for {model.name!r}; valid: 0, "
      f"or a model with residual blocks: {', '.join(others)}"
    )
  sizes = (resolution(config), train_resolution(config))
  for size in sizes:
    registry.check_resolution(model.name, size)
  if sizes[0] != sizes[1] and not registry.head_pools(network):
    raise InputError(
      f"model.train_resolution: got {sizes[1]} for {model.name!r}, whose head "
      f"needs feature maps of one size; valid: 0 or {sizes[0]}, or model.head "
      "'plain'"
    )
  if bool(model.weights) != (model.transfer != "scratch"):
    raise InputError(
      f"model.transfer: got {model.transfer!r} with model.weights "
      f"{model.weights!r}; valid: 'scratch' without weights, 'fine_tune' or "
      "'frozen' with imagenet, hf:OWNER/NAME, or the path of a file or a run"
    )
  if weights_of_run.is_run(model.weights):
    weights_of_run.check(model.weights, network)
  elif model.weights:
    weights_of_run.refuse_seeds("model.weights", model.weights)
    locate.resolve(
      model.weights,
      network.name,
      width=network.width,
      minimalistic=network.options.minimalistic,
      revision=revision,
    )
  if model.match_statistics:
    if model.transfer != "fine_tune":
      raise InputError(
        f"model.match_statistics: got {model.match_statistics} with "
        f"model.transfer {model.transfer!r}; valid: 0, or 'fine_tune'"
      )
    recalibrate.check(network)
  _check_fake_quant(config)
  Rules(config.optim.rules)


def build(
  config: Config,
  classes: Sequence[str],
  sample: Callable[[int], np.ndarray],
  *,
  revision: str = "",
) -> Initial:
  """Makes the network with pretrained or random initial values.

  Args:
    config: sections model, optim and data, and the seed.
    classes: their names, in the order of the logits.
    sample: returns about so many training images, u8[batches, batch, h, w, 3].
    revision: commit of pretrained weights on the hub, as the run started from
      them; '' to take what their name says today.

  Raises:
    InputError: for weights or rules that do not fit the network, or a
      BatchNorm that would get one value per channel.
  """
  model = config.model
  network, loaded = describe(config, len(classes)), None
  if model.weights:
    loaded = _load(config, network, tuple(classes), revision)
    network = loaded.network
    _check_padding(network, resolution(config))
    _check_padding(network, train_resolution(config))
  module, rules = make_module(config, network)
  values = variables.initial_values(module, resolution(config), config.seed)
  rules.check(values["params"])
  _check_norms(config, module, values)
  if loaded is not None:
    values = pretrained_lib.insert(loaded, values)
  if model.match_statistics:
    values = recalibrate.match_statistics(
      module,
      network.conventions,
      values,
      iter(sample(model.match_statistics)),
      resolution=model.resolution,
    )
  if model.fake_quant != "none":
    values = calibrate.calibrate(
      module,
      network.conventions,
      values,
      iter(sample(calibrate.IMAGES)),
      resolution=model.resolution,
    )
  origin = None if loaded is None else loaded.origin
  return Initial(network, module, values, rules, origin)


def _load(
  config: Config,
  network: registry.Network,
  classes: tuple[str, ...],
  revision: str,
) -> pretrained_lib.Pretrained:
  """Loads `model.weights`; without their last layer where its classes differ.

  Raises:
    InputError: as `build`.
  """
  name = config.model.weights
  if weights_of_run.is_run(name):
    loaded = weights_of_run.load(
      name, network, multi_label=config.data.multi_label
    )
  else:
    loaded = pretrained_lib.load(name, network, revision=revision)
  return pretrained_lib.for_classes(loaded, classes)


def make_module(
  config: Config, network: registry.Network, *, num_devices: int | None = None
) -> tuple[Classifier, Rules]:
  """The network as a run trains it, and the rules of its parameters.

  Args:
    config: sections model, optim and train.
    network: its definition.
    num_devices: devices that share a batch; None for all of this run.
  """
  model = config.model
  frozen = model.transfer == "frozen"
  fake_quant = model.fake_quant != "none"
  rules = Rules((FREEZE_BACKBONE,) * frozen + config.optim.rules)
  module = registry.build(
    network,
    dropout=model.dropout,
    drop_path=model.drop_path,
    norm_momentum=model.norm_momentum,
    norm_debias=model.norm_debias,
    norm_group=_norm_group(config, num_devices),
    dtype=model.dtype,
    # What is folded into a kernel has to be fixed.
    norm_frozen=_every_norm if fake_quant else rules.norm_frozen,
    freeze_backbone=frozen,
  )
  return module, rules


def _every_norm(path: str) -> bool:
  del path
  return True


def _norm_group(config: Config, num_devices: int | None) -> int:
  """Images that share statistics in training; 0: all of a micro-batch."""
  if config.model.norm_over == "device":
    micro_batch = config.train.batch_size // config.optim.accumulate
    return micro_batch // (num_devices or mesh_lib.num_devices())
  return config.model.norm_group


def describe(config: Config, num_classes: int) -> registry.Network:
  """The network that a config asks for, with its own conventions.

  Raises:
    InputError: for an unknown name, or an option that the model lacks.
  """
  model = config.model
  return registry.describe(
    model.name,
    num_classes=num_classes,
    width=model.width,
    head=model.head,
    options=registry.Options(
      **{
        field.name: getattr(model, field.name)
        for field in dataclasses.fields(registry.Options)
      }
    ),
  )


def _check_fake_quant(config: Config) -> None:
  """Refuses fake quantisation of what it is not meant for.

  Raises:
    InputError: if the network is not fine-tuned in float32.
  """
  model = config.model
  if model.fake_quant == "none":
    return
  if model.transfer != "fine_tune":
    raise InputError(
      f"model.fake_quant: got {model.fake_quant!r} with model.transfer "
      f"{model.transfer!r}; valid: 'none', or 'fine_tune' with model.weights, "
      "such as the folder of a finished run"
    )
  if model.dtype != "float32":
    raise InputError(
      f"model.fake_quant: got {model.fake_quant!r} with model.dtype "
      f"{model.dtype!r}, which rounds more coarsely; valid: 'float32'"
    )


def _check_norms(config: Config, module: Classifier, values: dict) -> None:
  """Refuses a BatchNorm of one value per channel, which it would make 0.

  Raises:
    InputError: naming the layer.
  """
  section = config.train
  micro_batch = section.batch_size // config.optim.accumulate
  if (_norm_group(config, None) or micro_batch) > 1:
    return
  single = []

  def record(next_function, args, kwargs, context):
    layer, path = context.module, "/".join(context.module.path)
    if (
      isinstance(layer, layers.BatchNorm) and context.method_name == "__call__"
    ):
      fixed = layer.frozen is not None and layer.frozen(path)
      if args[1] and not fixed and args[0].size == args[0].shape[-1]:
        single.append(path)
    return next_function(*args, **kwargs)

  def forward(values, image):
    keys = {"dropout": jax.random.key(0)}
    with nn.intercept_methods(record):
      module.apply(values, image, True, mutable=["batch_stats"], rngs=keys)

  size = train_resolution(config)
  image = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
  jax.eval_shape(forward, values, image)
  if single:
    raise InputError(
      f"train.batch_size: got {section.batch_size} with optim.accumulate "
      f"{config.optim.accumulate} and model.norm_over "
      f"{config.model.norm_over!r}, which normalises each image by itself; "
      f"{single[0]!r} has one value per channel then, and would make it 0; "
      "valid: more images, larger ones, or optim.rules that freeze the layer"
    )


def _check_padding(network: registry.Network, resolution: int) -> None:
  """Refuses images too small for the padding of Keras's weights.

  Raises:
    InputError: naming the smallest valid size.
  """
  # MobileNetV1's stem halves, rounding up; the four other strides round down.
  smallest = 31
  if network.conventions.padding == "end" and resolution < smallest:
    raise InputError(
      f"model.resolution: got {resolution} pixels for {network.name!r} with "
      f"weights of Keras; valid: {smallest} or more"
    )

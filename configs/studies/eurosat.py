"""Simple_CNN, MobileNetV1 and V2 on EuroSAT, from scratch and from ImageNet.

  python -m mn_jax.tools.study configs/studies/eurosat.py --seeds=3

Dong et al. 2020 name EuroSAT but give no number for it.
"""

from mn_jax.studies.study import Claim, Member, Study

_V1 = {"model.name": "mobilenet_v1"}
_V1_075 = {**_V1, "model.width": 0.75}
_CNN = {"model.name": "simple_cnn"}
_V1_075_FILE = "mobilenet_v1_0.75_224"
_V1_FILE, _V2_FILE = "mobilenet_v1_1.0_224", "mobilenet_v2_1.0_224"


def get_study() -> Study:
  return Study(
    title="EuroSAT: Simple_CNN, MobileNetV1 and V2",
    source="Dong et al. 2020, which gives no number for EuroSAT",
    resplit=True,
    members=(
      Member("simple_cnn", "eurosat_v2", _CNN),
      Member("v1", "eurosat_v2", _V1),
      Member("v2", "eurosat_v2"),
      Member("v1_fine_tune", "eurosat_v2:fine_tune", _V1, weights=_V1_FILE),
      Member("v2_fine_tune", "eurosat_v2:fine_tune", weights=_V2_FILE),
      Member(
        "v1_0.75_fine_tune",
        "eurosat_v2:fine_tune",
        _V1_075,
        weights=_V1_075_FILE,
      ),
      Member("v1_frozen", "eurosat_v2:frozen", _V1, weights=_V1_FILE),
      Member(
        "v1_0.75_frozen", "eurosat_v2:frozen", _V1_075, weights=_V1_075_FILE
      ),
      Member("v2_frozen", "eurosat_v2:frozen", weights=_V2_FILE),
    ),
    sample={
      "data.name": "eurosat_sample",
      "data.image_size": 32,
      "model.width": 0.25,
      "train.epochs": 1.0,
      "optim.warmup_epochs": 0.0,
    },
    metrics=("accuracy", "macro_f1", "macro_auroc"),
    pairs=(
      ("v2", "v1"),
      ("v2_fine_tune", "v1_fine_tune"),
      ("v2_frozen", "v1_frozen"),
      ("v2_fine_tune", "v1_0.75_fine_tune"),
      ("v2_frozen", "v1_0.75_frozen"),
      ("v2_fine_tune", "v2"),
    ),
    claims=(
      Claim(
        "V2 frozen beats V1 frozen, here at width 0.75",
        "v2_frozen",
        "v1_0.75_frozen",
        "test/accuracy",
      ),
      Claim(
        "V2 frozen beats Simple_CNN",
        "v2_frozen",
        "simple_cnn",
        "test/accuracy",
      ),
      Claim(
        "V2 fine-tuned beats V2 from scratch",
        "v2_fine_tune",
        "v2",
        "test/accuracy",
      ),
      Claim(
        "V2 fine-tuned beats V2 frozen",
        "v2_fine_tune",
        "v2_frozen",
        "test/accuracy",
      ),
      Claim(
        "V2 fine-tuned reaches the .9857 of its authors' ResNet-50",
        "v2_fine_tune",
        "",
        "test/accuracy",
        ">",
        0.9857,
      ),
    ),
  )

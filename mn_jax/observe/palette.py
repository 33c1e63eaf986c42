"""Colours of all figures, which the colour-blind tell apart."""

# Okabe & Ito 2008, "Color Universal Design", but yellow, which is too light:
# blue, orange, green, vermilion, purple, sky, black.
COLOURS = (
  "#0072B2",
  "#E69F00",
  "#009E73",
  "#D55E00",
  "#CC79A7",
  "#56B4E9",
  "#000000",
)

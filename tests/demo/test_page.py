"""The page in a browser, as its users have it: on a phone and on a desk."""

import json
import pathlib
import threading
import time

import numpy as np
import pytest
from PIL import Image

from mn_jax.demo import answers as answers_lib
from mn_jax.demo import routes
from mn_jax.demo.site import Call, Site
from mn_jax.run import reopen
from tests import toy_transfer as toy
from tests.demo import browser
from tests.demo.conftest import serving

pytestmark = [
  pytest.mark.extended,
  pytest.mark.usefixtures("standard_promotion"),
]

WINDOWS = pytest.mark.parametrize(
  "size", [browser.PHONE, browser.DESKTOP], ids=["phone", "desktop"]
)
HOSTILE = '<img src=x onerror="window.hurt = 1">'


@pytest.fixture(scope="module")
def chromium():
  with browser.started() as page:
    yield page


@pytest.fixture(scope="module")
def site(run):
  saved = reopen.open_run(run)
  found = answers_lib.Answers(saved, saved.data(toy.ignore_progress))
  return routes.of_run(saved, found)


@pytest.fixture
def page(chromium):
  chromium.complaints.clear()
  yield chromium
  # Scripts that failed, and what the policy of the page has blocked; answers
  # that refuse a file are none of these.
  refused = "the server responded with a status of 4"
  assert [x for x in chromium.complaints if refused not in x] == []


@pytest.fixture(scope="module")
def image(tmp_path_factory):
  path = tmp_path_factory.mktemp("images") / "noise.png"
  draw = np.random.default_rng(0)
  Image.fromarray(draw.integers(0, 256, (40, 60, 3), np.uint8)).save(path)
  return path


def fits(page):
  """Nothing is wider than the window."""
  return page.run("document.documentElement.scrollWidth <= innerWidth")


def texts(page, selector):
  return page.run(
    f"[...document.querySelectorAll({json.dumps(selector)})]"
    ".map(x => x.innerText)"
  )


def results(page, count):
  """Waits for the results of so many images, with their saliency."""
  page.wait(
    "document.querySelectorAll('.card .over[src], "
    f".card > .problem:not([hidden])').length === {count}"
  )


def changed(site, **answers):
  """The site with other answers to some calls, by their path."""
  calls = {
    key: Call(lambda *_, x=answers[key[1][1:]]: x, call.fields)
    if key[1][1:] in answers
    else call
    for key, call in site.calls.items()
  }
  return Site(site.pages, calls)


@WINDOWS
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_an_example_and_a_file(page, site, image, size, dark, tmp_path):
  broken = tmp_path / "broken.png"
  broken.write_text("no image")
  with serving(site) as running:
    page.open(running.url, size, dark=dark)
    page.wait("document.querySelectorAll('#strip button').length === 12")
    assert fits(page)
    page.run("document.querySelector('#strip button').click()")
    results(page, 1)
    (truth,) = texts(page, ".scores .truth")
    assert truth.startswith(("Right: the label is ", "Wrong: the label is "))
    page.choose("#files", image, broken)
    results(page, 3)
    # The newest first.
    first, second, third = texts(page, ".card .name")
    assert (first, second) == ("broken.png", "noise.png")
    assert third.endswith(".png")
    assert texts(page, ".card > .problem")[0].startswith("no readable PNG")
    body = image.read_bytes()
    found = site.calls["POST", "/predict"].function({}, body)
    shown = texts(page, ".card:nth-child(2) tbody tr")
    order = np.argsort(-np.array(found["calibrated"]))
    for line, i in zip(shown, order, strict=True):
      name, calibrated, raw = line.split()[0], *line.split("\t")[1:]
      assert name == ("no_idc", "idc")[i]
      assert calibrated == f"{100 * found['calibrated'][i]:.1f} %"
      assert raw == f"{100 * found['raw'][i]:.1f} %"
    (chips,) = texts(page, ".card:nth-child(2) .chips")
    names = [("no_idc", "idc")[i] for i in found["sets"]["0.2"]]
    assert chips.split() == (names or ["empty"])
    assert "at most 20 in 100" in texts(page, ".card:nth-child(2) .set")[0]
    assert "of the validation images" in texts(page, ".strange")[1] or (
      "than all validation images" in texts(page, ".strange")[1]
    )
    assert "energy of its logits" in texts(page, ".strange")[1]
    assert len(texts(page, ".card:nth-child(2) .nearest li")) == 6
    under = "document.querySelector('.card:nth-child(2) .under')"
    assert (
      page.run(f"[{under}.naturalWidth, {under}.naturalHeight]") == [32] * 2
    )
    assert page.run(f"{under}.alt") == "noise.png, as the network sees it"
    assert texts(page, "#status") == [
      f"broken.png: {texts(page, '.card > .problem')[0]}"
    ]
    assert fits(page)
    background = page.run("getComputedStyle(document.body).backgroundColor")
    shades = [int(x) for x in background[4:-1].split(",")]
    assert max(shades) < 60 if dark else min(shades) > 200
    assert len(page.picture()) > 10_000


def test_what_a_user_chooses_is_shown(page, site, image):
  with serving(site) as running:
    page.open(running.url)
    page.wait("document.querySelectorAll('#strip button').length === 12")
    page.choose("#files", image)
    results(page, 1)
    found = site.calls["POST", "/predict"].function({}, image.read_bytes())
    best = int(np.argmax(found["raw"]))
    for kind in ("raw", "calibrated"):
      page.run(f"document.querySelector('[value={kind}]').click()")
      (verdict,) = texts(page, ".verdict")
      assert verdict.endswith(f", {100 * found[kind][best]:.1f} %")
    overlay = "document.querySelector('.card .over')"
    before = page.run(f"{overlay}.src")
    page.run(
      "{ const x = document.querySelector('select.class');"
      " x.value = 1 - x.value; x.dispatchEvent(new Event('change')) }"
    )
    page.wait(f"{overlay}.src !== {json.dumps(before)}")
    before = page.run(f"{overlay}.src")
    page.run(
      "{ const x = document.querySelector('[name=method]');"
      " x.value = 'gradient';"
      " x.dispatchEvent(new Event('change', {bubbles: true})) }"
    )
    page.wait(f"{overlay}.src !== {json.dumps(before)}")
    assert texts(page, ".what")[0].startswith("gradient: ")
    page.run(
      "{ const x = document.querySelector('#settings [name=opacity]');"
      " x.value = 10; x.dispatchEvent(new Event('input')) }"
    )
    assert page.run(f"getComputedStyle({overlay}).opacity") == "0.1"
    first = texts(page, "#strip li")
    titles = "[...document.querySelectorAll('#strip button')].map(x => x.title)"
    page.run(f"window.before = JSON.stringify({titles})")
    page.run("document.querySelector('#others').click()")
    page.wait(f"JSON.stringify({titles}) !== window.before")
    assert len(first) == len(texts(page, "#strip li"))
    page.run("document.querySelector('.remove').click()")
    assert texts(page, ".card") == []
    assert page.run("document.querySelector('#settings').hidden")


@WINDOWS
def test_a_slide(page, site, size):
  with serving(site) as running:
    page.open(running.url, size)
    page.wait("!document.querySelector('#slides').hidden")
    page.run("document.querySelector('#slides summary').click()")
    page.wait("document.querySelector('#maps .labels').complete")
    page.wait("!document.querySelector('#maps').hidden")
    (caption,) = texts(page, "#maps .caption")
    assert ", in test: " in caption
    page.wait("document.querySelector('#maps .under').naturalWidth")
    # What is laid over the tissue covers it, pixel by pixel.
    rectangles = page.run(
      "[...document.querySelectorAll('#maps img')]"
      ".map(x => JSON.stringify(x.getBoundingClientRect()))"
    )
    under, predictions, other_under, labels = rectangles
    assert under == predictions
    assert other_under == labels
    assert fits(page)


def test_it_works_from_the_keyboard(page, site):
  with serving(site) as running:
    page.open(running.url)
    page.wait("document.querySelectorAll('#strip button').length === 12")
    reached = []
    for _ in range(4):
      page.press("Tab", 9)
      reached.append(
        page.run(
          "[document.activeElement.id || document.activeElement.tagName,"
          " getComputedStyle(document.activeElement.labels?.[0] ??"
          " document.activeElement).outlineStyle]"
        )
      )
    assert reached == [
      ["files", "solid"],
      ["others", "solid"],
      ["BUTTON", "solid"],
      ["BUTTON", "solid"],
    ]
    page.press("Enter", 13, "\r")
    results(page, 1)
    # All that can be used has a name for those who do not see it.
    assert (
      page.run(
        "[...document.querySelectorAll('button, select, input')].filter(x =>"
        " !(x.labels?.length || x.innerText || x.ariaLabel)).length"
      )
      == 0
    )


def test_images_are_pasted_and_dropped(page, site, image):
  content = list(image.read_bytes())
  transfer = (
    "(() => { const x = new DataTransfer(); x.items.add(new File("
    f"[new Uint8Array({content})], 'given.png')); return x; }})()"
  )
  with serving(site) as running:
    page.open(running.url)
    page.wait("document.querySelectorAll('#strip button').length === 12")
    page.run(
      "document.body.dispatchEvent(new ClipboardEvent('paste',"
      f" {{bubbles: true, clipboardData: {transfer}}}))"
    )
    results(page, 1)
    page.run(
      "document.body.dispatchEvent(new DragEvent('drop',"
      f" {{bubbles: true, dataTransfer: {transfer}}}))"
    )
    results(page, 2)
    assert texts(page, ".name") == ["given.png"] * 2
    first, second = texts(page, ".verdict")
    assert first == second


@WINDOWS
def test_names_are_text(page, site, image, size, tmp_path):
  described = site.calls["GET", "/run"].function({}, b"")
  long = "a_class_of_a_name_that_is_longer_than_a_phone_is_wide" * 2
  odd = {
    **described,
    "title": HOSTILE,
    "workdir": HOSTILE,
    "classes": [HOSTILE, long],
    "missing": [{"what": HOSTILE, "why": HOSTILE}],
  }
  example = {"row": 0, "name": HOSTILE, "label": HOSTILE, "image": None}
  found = site.calls["POST", "/predict"].function({}, image.read_bytes())
  for neighbour in found["nearest"]:
    neighbour |= {"name": HOSTILE, "label": long, "image": None}
  found |= {"sets": {"0.2": [0, 1]}, "example": example}
  named = tmp_path / "<img src=x onerror='window.hurt = 1'>.png"
  named.write_bytes(image.read_bytes())
  with serving(
    changed(site, run=odd, examples=[example] * 3, predict=found)
  ) as running:
    page.open(running.url, size)
    page.wait("document.querySelectorAll('#strip button').length === 3")
    page.choose("#files", named)
    results(page, 1)
    assert texts(page, "h1") == [HOSTILE]
    assert texts(page, ".name") == [named.name]
    assert HOSTILE in texts(page, ".chips")[0]
    assert page.run("document.querySelectorAll('img[src=x]').length") == 0
    assert page.run("window.hurt === undefined")
    assert fits(page)


def test_a_large_file_is_refused_by_the_page(page, site, tmp_path):
  large = tmp_path / "large.png"
  with large.open("wb") as file:
    file.truncate((32 << 20) + 1)
  with serving(site) as running:
    page.open(running.url)
    page.wait("document.querySelectorAll('#strip button').length === 12")
    page.choose("#files", large)
    results(page, 1)
    assert texts(page, ".card > .problem") == [
      "This file is larger than 32 MiB."
    ]


def test_a_server_that_is_gone(chromium, site, image):
  page = chromium
  with serving(site) as running:
    page.open(running.url)
    page.wait("document.querySelectorAll('#strip button').length === 12")
  page.choose("#files", image)
  results(page, 1)
  assert texts(page, ".card > .problem") == [
    "The server does not answer: is mn-jax demo still running?"
  ]


def test_the_pages_are_those_of_the_package(site):
  folder = pathlib.Path(routes.__file__).with_name("page")
  assert len(site.pages) == len(list(folder.iterdir()))


def test_what_is_removed_is_not_asked_for(page, site, image, tmp_path):
  asked, ready = [], threading.Event()

  def predict(fields, body):
    asked.append(body)
    ready.wait(30)
    return site.calls["POST", "/predict"].function(fields, body)

  calls = {**site.calls, ("POST", "/predict"): Call(predict)}
  copies = [tmp_path / f"{i}.png" for i in range(5)]
  for copy in copies:
    copy.write_bytes(image.read_bytes())
  titles = "[...document.querySelectorAll('#strip button')].map(x => x.title)"
  with serving(Site(site.pages, calls)) as running:
    page.open(running.url)
    page.wait("document.querySelectorAll('#strip button').length === 12")
    page.choose("#files", *copies)
    page.wait("document.querySelectorAll('.card').length === 5")
    while not asked:
      time.sleep(0.01)
    page.run("document.querySelector('#clear').click()")
    ready.set()
    # It is answered after all that was asked before.
    page.run(f"window.before = JSON.stringify({titles})")
    page.run("document.querySelector('#others').click()")
    page.wait(f"JSON.stringify({titles}) !== window.before")
    assert len(asked) == 1

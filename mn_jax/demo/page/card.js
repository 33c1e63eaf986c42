// The result of one image.

import { ask } from "./ask.js";
import {
  breakable,
  complain,
  element,
  fill,
  make,
  percent,
  pictured,
} from "./show.js";

const TOP = 5; // classes at first
const NAMED = 8; // of a prediction set
const METHODS = {
  grad_cam: "Grad-CAM",
  gradient: "gradient",
  smooth_grad: "SmoothGrad",
  integrated_gradients: "integrated gradients",
};
const SMALL = 128; // pixels: larger images are smoothed on the screen

// What a percentage of validation images is called. It is rounded down: not all
// but one in a thousand are all.
function shareOf(percentage) {
  if (percentage === 100) return "all validation images";
  const tenths = Math.floor(10 * percentage) / 10;
  return `${tenths.toFixed(1)} % of the validation images`;
}

export const nameOf = (method) => METHODS[method] ?? method;

export class Card {
  // `source` has a name, fields of the query and, unless it is an example, a
  // file. `settings` returns what the user has chosen.
  constructor(run, source, settings, removed) {
    Object.assign(this, { run, source, settings, all: false, asked: 0 });
    this.place = element("card").content.cloneNode(true).firstElementChild;
    this.find(".name").textContent = source.name;
    this.find(".time").textContent = "waiting …";
    const remove = this.find(".remove");
    remove.setAttribute("aria-label", `Remove ${source.name}`);
    remove.onclick = () => {
      this.place.remove();
      removed(this);
    };
    const classes = this.find("select.class");
    fill(classes, run.classes);
    classes.onchange = () => this.explain();
    this.find(".all").onclick = () => {
      this.all = !this.all;
      this.showScores();
    };
  }

  find(selector) {
    return this.place.querySelector(selector);
  }

  // Predicts the image; returns a line that says what came of it.
  async load() {
    const { name } = this.source;
    try {
      const { fields } = this.source;
      this.found = await ask("/predict", fields, () => this.read());
    } catch (error) {
      this.find(".time").textContent = "";
      complain(this.find(".problem"), error.message);
      return `${name}: ${error.message}`;
    }
    const { image, raw, seconds } = this.found;
    this.find(".time").textContent = `${Math.round(1000 * seconds)} ms`;
    const under = this.find(".under");
    under.onload = () =>
      this.find(".stack").classList.toggle("small", under.naturalWidth < SMALL);
    under.src = image;
    under.alt = `${name}, as the network sees it`;
    this.best = raw.indexOf(Math.max(...raw));
    this.find("select.class").value = this.best;
    this.find(".columns").hidden = false;
    this.show();
    this.explain();
    return `${name}: ${this.verdict()}`;
  }

  // Returns what is posted. A card that is gone needs no answer.
  async read() {
    if (!this.place.isConnected) throw new Error("It was removed.");
    const { file } = this.source;
    if (!file) return "";
    if (file.size > this.run.max_bytes) {
      const most = this.run.max_bytes / 2 ** 20;
      throw new Error(`This file is larger than ${most} MiB.`);
    }
    try {
      return await file.arrayBuffer();
    } catch {
      throw new Error("This cannot be read: it may be a folder.");
    }
  }

  // Lays the saliency of the chosen class over the image.
  async explain() {
    if (!this.found) return;
    const { method } = this.settings();
    const chosen = this.find("select.class").value;
    const number = ++this.asked;
    const problem = this.find("figcaption .problem");
    const say = (what) => {
      this.find(".what").textContent = `${nameOf(method)}: ${what} raises`;
    };
    say("computing what");
    try {
      const fields = { ...this.source.fields, method, class: chosen };
      const { overlay, empty } = await ask("/explain", fields, () =>
        this.read(),
      );
      if (number !== this.asked) return;
      this.find(".over").src = overlay;
      say(empty ? "nothing here" : "what");
      complain(problem);
    } catch (error) {
      if (number !== this.asked) return;
      say("not known what");
      complain(problem, error.message);
    }
  }

  show() {
    if (!this.found) return;
    this.showScores();
    this.showTruth();
    this.showSet();
    this.showDistance();
    this.showNearest();
  }

  scores() {
    const { calibrated, raw } = this.found;
    const kind = calibrated ? this.settings().kind : "raw";
    return kind === "raw" ? [raw, calibrated] : [calibrated, raw];
  }

  likely() {
    return this.run.multi_label
      ? this.run.classes.filter((_, i) => this.found.raw[i] >= 0.5)
      : [this.run.classes[this.best]];
  }

  verdict() {
    const names = this.likely().join(" + ") || "no label";
    return this.run.multi_label
      ? names
      : `${names}, ${percent(this.scores()[0][this.best])}`;
  }

  showScores() {
    const { classes, multi_label: several } = this.run;
    const [shown, other] = this.scores();
    const kind = this.found.calibrated ? this.settings().kind : "raw";
    this.find(".verdict").textContent = this.verdict();
    this.find("th.kind").textContent = kind;
    this.find("th.other").textContent =
      other && (kind === "raw" ? "calibrated" : "raw");
    let order = classes.map((_, i) => i);
    if (!several) {
      order.sort((i, j) => shown[j] - shown[i] || i - j);
      if (!this.all) order = order.slice(0, TOP);
    }
    const likely = new Set(this.likely());
    this.find("tbody").replaceChildren(
      ...order.map((i) => this.row(i, shown, other, likely)),
    );
    const button = this.find(".all");
    button.hidden = several || classes.length <= TOP;
    button.textContent = this.all
      ? `The first ${TOP}`
      : `All ${classes.length} classes`;
    button.setAttribute("aria-expanded", this.all);
  }

  row(i, shown, other, likely) {
    const name = this.run.classes[i];
    const row = make("tr", "", { className: likely.has(name) ? "likely" : "" });
    const title = make("th", "", { scope: "row" });
    const bar = make("span", "", { className: "bar" });
    const length = make("i");
    length.style.width = `${100 * shown[i]}%`;
    bar.append(length);
    title.append(breakable(name), bar);
    row.append(
      title,
      make("td", percent(shown[i])),
      make("td", other ? percent(other[i]) : ""),
    );
    return row;
  }

  showTruth() {
    const { example } = this.found;
    if (!example) return;
    const truth = this.find(".truth");
    const right = example.label === (this.likely().join(" + ") || "no label");
    truth.hidden = false;
    truth.classList.toggle("wrong", !right);
    truth.textContent = right
      ? `Right: the label is ${example.label}`
      : `Wrong: the label is ${example.label}`;
  }

  showSet() {
    const { alpha } = this.settings();
    const set = this.found.sets[alpha];
    this.find(".set").hidden = !set;
    if (!set) return;
    const names = set.map((i) => this.run.classes[i]);
    const chips = names.slice(0, NAMED).map((name) => make("b", name));
    const more = names.length - NAMED;
    if (more > 0) chips.push(make("span", `and ${more} more`));
    if (!names.length) {
      chips.push(make("span", "empty", { className: "empty" }));
    }
    this.find(".chips").replaceChildren(...chips);
    const sizes = [
      "No class is as probable as it usually is where it is right",
      "One class is possible",
    ];
    let size = sizes[names.length] ?? `${names.length} classes are possible`;
    if (names.length && !set.includes(this.best)) {
      size += ", and the most probable one is not among them";
    }
    this.find(".set .soft").textContent =
      `${size}. Of images like those of validation, at most ` +
      `${Math.round(100 * alpha)} in 100 have a class that is not in their set.`;
  }

  showDistance() {
    const { distance, energy } = this.found;
    const place = this.find(".strange");
    place.hidden = distance === null;
    if (distance === null) return;
    const beyond = distance >= this.run.strange;
    place.classList.toggle("beyond", beyond);
    this.find(".gauge i").style.width = `${Math.max(1, distance)}%`;
    const than = `farther from the training images than ${shareOf(distance)}`;
    const [start, end] = beyond
      ? ["Strange", ". What is predicted may mean nothing."]
      : [distance >= 90 ? "Unusual" : "Usual", "."];
    this.find(".strange p").textContent = `${start}: ${than}${end}`;
    this.find(".strange .soft").textContent =
      `The energy of its logits is above that of ${shareOf(energy)}.`;
  }

  showNearest() {
    const { nearest } = this.found;
    const place = this.find(".nearest");
    place.hidden = !nearest;
    if (!nearest) return;
    this.find(".nearest .strip").replaceChildren(
      ...nearest.map(({ name, label, image }) => {
        const item = make("li", "", { title: name });
        item.append(...pictured(image, label));
        if (!image) item.append(make("span", name, { className: "soft" }));
        return item;
      }),
    );
    const label = this.likely().join(" + ") || "no label";
    const same = nearest.filter((image) => image.label === label).length;
    this.find(".nearest .soft").textContent =
      `${same} of ${nearest.length} have the label that is predicted.`;
  }
}

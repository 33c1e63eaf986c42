// The map of a slide: its tissue, with predictions and with labels over it.

import { ask } from "./ask.js";
import { complain, element, fill, make, percent } from "./show.js";

export function prepareSlides(run) {
  if (!run.slides) return;
  const place = element("slides");
  const find = (selector) => place.querySelector(selector);
  const { group, class: label, opacity } = find("form").elements;
  const { groups, unit } = run.slides;
  let asked = 0;

  async function load() {
    const number = ++asked;
    complain(find(".problem"));
    element("predicting").hidden = false;
    try {
      const fields = { group: group.value, class: label.value };
      const found = await ask("/slide", fields);
      if (number === asked) show(found);
    } catch (error) {
      if (number === asked) complain(find(".problem"), error.message);
    }
    if (number === asked) element("predicting").hidden = true;
  }

  function show(found) {
    for (const image of place.querySelectorAll(".under")) {
      image.src = found.tissue;
    }
    find(".predictions").src = found.probability;
    find(".labels").src = found.truth;
    for (const name of place.querySelectorAll(".of")) {
      name.textContent = found.class;
    }
    find(".caption").textContent =
      `${found.title}, ${percent(found.positive)} ${found.class}; ` +
      `${percent(found.correct)} classified correctly`;
    element("maps").hidden = false;
  }

  function lay() {
    element("maps").style.setProperty("--opacity", opacity.value / 100);
  }

  element("unit").textContent = unit;
  group.replaceChildren(
    ...groups.map(({ name, patches }) =>
      make("option", `${name} (${patches} patches)`, { value: name }),
    ),
  );
  fill(label, run.classes);
  label.value = run.slides.class;
  group.onchange = label.onchange = load;
  opacity.oninput = lay;
  lay();
  place.hidden = false;
  place.ontoggle = () => {
    if (place.open && !asked) load();
  };
}

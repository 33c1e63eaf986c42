// Small things that every part of the page needs.

export const percent = (share) => `${(100 * share).toFixed(1)} %`;

export const element = (id) => document.getElementById(id);

// Returns a new element; its text is never read as HTML.
export function make(tag, text = "", properties = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  return Object.assign(made, properties);
}

// Shows a line at a place for problems; hides the place without one.
export function complain(place, text = "") {
  place.textContent = text;
  place.hidden = !text;
}

// Fills a <select> with names; their values are their places.
export function fill(select, names) {
  select.replaceChildren(
    ...names.map((name, i) => make("option", name, { value: i })),
  );
}

// Returns a name that may be broken where its words end.
export function breakable(name) {
  const text = make("span");
  for (const word of name.split(/(?<=[a-z0-9])(?=[A-Z])|(?<=[_/.-])/)) {
    text.append(word, make("wbr"));
  }
  return text;
}

// Returns a picture with its text below it, for a strip.
export function pictured(image, text) {
  const picture = image
    ? make("img", "", { src: image, alt: "" })
    : make("div", "", { className: "none" });
  return [picture, breakable(text)];
}

"use strict";
// Making elements.

function element(tag, attributes = {}, ...children) {
  const svg = ["svg", "use", "path", "line", "circle", "rect", "text", "g", "clipPath", "title"].includes(tag);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "style") made.style.setProperty(...value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

function iconButton(icon, name, onclick) {
  const svg = element("svg", { "aria-hidden": "true" }, element("use", { href: "#icon-" + icon }));
  return element("button", { type: "button", class: "icon", "aria-label": name, title: name, onclick }, svg);
}

// What cannot be said in did.css. Without scripts every page can be read all the same.

// Makes an element with its attributes and what is in it; "svg:" begins the name of one of a drawing.
window.did = {
  element(name, attributes = {}, ...children) {
    const svg = "http://www.w3.org/2000/svg";
    const made = name.startsWith("svg:") ? document.createElementNS(svg, name.slice(4)) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  },
};

document.addEventListener("DOMContentLoaded", () => {
  // The theme gives an entry of the bibliography a role that a list may not contain.
  for (const entry of document.querySelectorAll(".citation-list > .citation")) entry.setAttribute("role", "listitem");

  // A long signature has its arguments in a list of definitions that defines nothing.
  for (const list of document.querySelectorAll(".sig > dl")) list.setAttribute("role", "presentation");

  // "0.391 [0.113, 0.692]" may break before the interval, not inside it.
  for (const cell of document.querySelectorAll("table.dataframe td")) {
    if (!cell.children.length) cell.textContent = cell.textContent.replace(/(\[[^\]]*,) ([^\]]*\])/, "$1\u00a0$2");
  }
});

// Sizes are known when the images are there.
addEventListener("load", () => {
  for (const image of document.querySelectorAll(".cell_output img")) {
    // A click shows the figure as large as it was drawn. The link is the box that a wide one scrolls in on a phone.
    const link = document.createElement("a");
    link.href = image.src;
    const wide = image.naturalWidth > 700 && image.naturalWidth > 1.4 * image.naturalHeight;
    link.className = wide ? "did-figure did-wide" : "did-figure";
    image.replaceWith(link);
    link.append(image);
  }
});

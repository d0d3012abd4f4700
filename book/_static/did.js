// What cannot be said in did.css. Without scripts every page can be read all the same.
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

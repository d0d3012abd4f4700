// A chapter as slides, from the page itself: each section with its first paragraph, formulas, lists, figures and
// exercises. ?present in the address begins; the arrow keys turn, Escape goes back to the page.
(() => {
  const LARGE = ".cell_output :is(img, table, ul, blockquote)";
  const TEXT = "div.math, ul, ol, dl, table, .pst-scrollable-table-container, .admonition:not(.dropdown)";
  const begins = new URLSearchParams(location.search).has("present");

  // Nodes of a page -> slides: {heading, parts}. A slide has at most one figure, table or exercise.
  function slides(section) {
    const found = [], heading = section.querySelector(":scope > :is(h1, h2, h3, h4)");
    let slide, large, words = null, first = true;
    const open = () => {
      found.push((slide = { heading, parts: [] }));
      large = false;
    };
    open();
    for (const node of section.children) {
      if (node === heading || node.matches(".solution")) continue;
      if (node.matches("section")) {
        found.push(...slides(node));
      } else if (node.matches("p")) {
        if (first) slide.parts.push(node);
        words = first ? null : node;
        first = false;
      } else if (node.matches(".exercise, .did-move, figure") || node.querySelector(LARGE)) {
        if (large) open();
        // What leads to a figure goes with it.
        if (words) slide.parts.push(words);
        slide.parts.push(node);
        large = true;
        words = null;
      } else if (node.matches(TEXT)) {
        slide.parts.push(node);
      }
    }
    return found.filter(({ heading, parts }) => parts.length || heading?.matches("h1"));
  }

  function present(article) {
    const all = slides(article.querySelector("section"));
    const stage = document.createElement("div");
    stage.className = "did-slides";
    stage.innerHTML = `<main class="bd-content" tabindex="-1"></main><nav aria-label="Slides">
      <button type="button" data-turn="-1">Previous</button><span role="status"></span>
      <button type="button" data-turn="1">Next</button><button type="button" data-end>End the show</button></nav>`;
    const [shown, place] = [stage.querySelector("main"), stage.querySelector("[role=status]")];
    let at = 0;
    const turn = (to) => {
      at = Math.max(0, Math.min(all.length - 1, to));
      shown.replaceChildren(all[at].heading.cloneNode(true), ...all[at].parts);
      place.textContent = `${at + 1} of ${all.length}`;
      shown.scrollTop = 0;
      history.replaceState(null, "", `#slide-${at + 1}`);
      shown.focus();
    };
    const end = () => location.assign(location.pathname);
    stage.addEventListener("click", ({ target }) => {
      if (target.dataset.turn) turn(at + Number(target.dataset.turn));
      if ("end" in target.dataset) end();
    });
    addEventListener("keydown", (event) => {
      // Sliders, lists and what is being typed keep their keys.
      if (event.target.closest("input, select, textarea") || event.ctrlKey || event.altKey || event.metaKey) return;
      const to = { ArrowRight: at + 1, PageDown: at + 1, ArrowLeft: at - 1, PageUp: at - 1, Home: 0, End: all.length };
      if (event.key === "Escape") end();
      else if (event.key in to) turn(to[event.key]);
      else return;
      event.preventDefault();
    });
    for (const other of document.body.children) other.inert = true;
    document.body.append(stage);
    turn(Number(/^#slide-(\d+)$/.exec(location.hash)?.[1] ?? 1) - 1);
  }

  addEventListener("load", async () => {
    const article = document.querySelector("article");
    if (!article?.querySelector("section > section")) return;
    if (begins) {
      await window.MathJax?.startup?.promise;
      present(article);
    } else {
      const link = document.createElement("p");
      link.innerHTML = '<a href="?present">Show this page as slides</a>';
      article.querySelector("section").append(link);
    }
  });
})();

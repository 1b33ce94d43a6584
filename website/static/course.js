// What is wider than the page scrolls sideways, and can be reached with the keyboard.
function reach() {
  for (const formula of document.querySelectorAll("article p mjx-container")) {
    formula.classList.remove("scrolls");
    const room = formula.closest("p, li, td").clientWidth;
    formula.classList.toggle("scrolls", formula.offsetWidth > room);
  }
  const regions =
    "article pre, .table-wrapper, mjx-container[display], mjx-container.scrolls";
  for (const region of document.querySelectorAll(regions)) {
    if (region.scrollWidth > region.clientWidth) {
      region.tabIndex = 0;
    } else {
      region.removeAttribute("tabindex");
    }
  }
}
addEventListener("load", () => {
  reach();
  window.MathJax?.startup?.promise?.then(reach);
});
addEventListener("resize", reach);
document.addEventListener("toggle", reach, true);

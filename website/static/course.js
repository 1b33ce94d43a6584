// What scrolls sideways can be reached with the keyboard, and nothing else can.
function reach() {
  const regions = "article pre, .table-wrapper, mjx-container[display]";
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

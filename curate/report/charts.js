// Draws the page's charts from the JSON beside this script, in the colours of the reader's theme.
(function () {
  "use strict";
  var figures = JSON.parse(document.getElementById("figures").textContent);
  var dark = window.matchMedia("(prefers-color-scheme: dark)");
  var family = getComputedStyle(document.body).fontFamily;

  // Values under a key that ends in "color" which begin with "@" name a CSS variable.
  function painted(value, key, style) {
    if (Array.isArray(value)) {
      return value.map(function (item) { return painted(item, key, style); });
    }
    if (value !== null && typeof value === "object") {
      var copy = {};
      Object.keys(value).forEach(function (k) { copy[k] = painted(value[k], k, style); });
      return copy;
    }
    if (typeof value === "string" && /color$/.test(key) && value.charAt(0) === "@") {
      return style.getPropertyValue("--" + value.slice(1)).trim();
    }
    return key === "family" ? family : value;
  }

  function draw() {
    var style = getComputedStyle(document.documentElement);
    Object.keys(figures).forEach(function (id) {
      var element = document.getElementById(id);
      if (!element) { return; }
      var figure = painted(figures[id], "", style);
      element.style.height = figure.layout.height + "px";
      Plotly.react(element, figure.data, figure.layout, {displayModeBar: false, responsive: true});
    });
  }

  draw();
  dark.addEventListener("change", draw);
}());

// Runs before page.js, as a script that every browser can read, and reports what page.js cannot:
// that a browser loads no modules from a file, or lacks a feature.

(function () {
  var problem = "";
  if (location.protocol === "file:") {
    problem =
      "Browsers run this page only from a web server. In the folder of the page, run " +
      "python -m http.server, then open http://localhost:8000.";
  } else if (!("noModule" in document.createElement("script"))) {
    problem = "This browser is too old for the page. Update it, or try another browser.";
  } else if (typeof WebAssembly === "undefined") {
    problem =
      "This browser has no WebAssembly, which the network needs. Some browsers switch it off in " +
      "a strict or lockdown mode; try another browser.";
  }
  if (!problem) return;
  var status = document.getElementById("status");
  status.textContent = problem;
  status.className = "bad";
  document.body.setAttribute("data-stopped", "");
})();

// Runs before page.js, as a script that every browser can read, and reports what page.js cannot:
// that a browser loads no modules from a file, or lacks a feature, or that a module is missing.

(function () {
  var problem = "";
  if (location.protocol === "file:") {
    problem =
      "Browsers run this page only from a web server. In the folder of the page, run " +
      "python -m http.server, then open http://localhost:8000.";
  } else if (self.origin === "null") {
    problem =
      "This page is in a frame with a sandbox, in which browsers load none of its scripts. The frame " +
      "needs sandbox=\"allow-scripts allow-same-origin\", or no sandbox.";
  } else if (!("noModule" in document.createElement("script"))) {
    problem = "This browser is too old for the page. Update it, or try another browser.";
  } else if (typeof WebAssembly === "undefined") {
    problem =
      "This browser has no WebAssembly, which the network needs. Some browsers switch it off in " +
      "a strict or lockdown mode; try another browser.";
  }
  if (problem) {
    show(problem);
    document.body.setAttribute("data-stopped", "");
    return;
  }
  // Also where one of the modules that page.js imports cannot be loaded.
  document.querySelector("script[type=module]").onerror = function () {
    show(
      "A script of this page cannot be loaded. Is the folder complete, is there a connection to the server, " +
        "and does it send .js files as text/javascript?",
    );
  };

  function show(text) {
    var status = document.getElementById("status");
    status.textContent = text;
    status.className = "bad";
  }
})();

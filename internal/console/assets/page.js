// What a script adds to a page that works without one: copy buttons, a key for the
// search, and the live parts fetched anew. Nothing here knows what the page shows.
"use strict";

document.documentElement.classList.remove("noscript");

const status = document.getElementById("status");

// A button beside an id copies it; what it copied is said aloud.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button.copy");
  if (!button) return;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    status.textContent = "copied " + button.dataset.copy;
    button.textContent = "copied";
  } catch {
    status.textContent = "this browser does not let pages copy";
    button.textContent = "no";
  }
  setTimeout(() => { button.textContent = "copy"; }, 1500);
});

// "/" goes to the search, unless somebody is writing.
document.addEventListener("keydown", (event) => {
  const writing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName);
  if (event.key === "/" && !writing && !event.ctrlKey && !event.metaKey) {
    const search = document.querySelector(".search input");
    if (search) { event.preventDefault(); search.focus(); search.select(); }
  }
});

// A choice in a filter is its own submit.
document.addEventListener("change", (event) => {
  if (event.target.matches(".filters select")) event.target.form.requestSubmit();
});

// Parts marked data-live are replaced every few seconds by what the server says
// now, while somebody looks and nobody has the focus in them.
const live = document.querySelector("[data-live]");
if (live) {
  setInterval(async () => {
    if (document.hidden || live.contains(document.activeElement) || !window.getSelection().isCollapsed) return;
    try {
      const answer = await fetch(location.href, { credentials: "same-origin" });
      if (!answer.ok) { status.textContent = "not up to date: " + answer.status; return; }
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-live]");
      if (fresh) live.replaceChildren(...fresh.childNodes);
    } catch {
      status.textContent = "not up to date: the server does not answer";
    }
  }, 1000 * Number(live.dataset.live));
}

// Makes pages livelier; every one of them works without it.
"use strict";

// A filter form sends itself when a choice is made; typed words wait for a pause.
document.querySelectorAll("form[data-live]").forEach((form) => {
  let waiting = 0;
  const send = () => form.requestSubmit();
  form.addEventListener("change", (event) => {
    if (event.target.tagName === "SELECT") send();
  });
  form.addEventListener("input", (event) => {
    if (event.target.type !== "search") return;
    clearTimeout(waiting);
    waiting = setTimeout(send, 600);
  });
  const typed = form.querySelector("input[type=search]");
  if (typed && typed.value && location.search.includes("q=")) {
    typed.setSelectionRange(typed.value.length, typed.value.length);
  }
});

// Something that cannot be undone asks once more.
document.querySelectorAll("form[data-confirm]").forEach((form) => {
  form.addEventListener("submit", (event) => {
    if (!window.confirm(form.dataset.confirm)) event.preventDefault();
  });
});

// "5 minutes ago" stays true while a page is open.
const STEPS = [[60, 1, "second"], [3600, 60, "minute"], [86400, 3600, "hour"], [2592000, 86400, "day"]];
const relative = (at) => {
  const seconds = (Date.now() - at) / 1000;
  const step = STEPS.find(([limit]) => Math.abs(seconds) < limit);
  if (!step) return at.toISOString().slice(0, 10);
  const amount = Math.trunc(Math.abs(seconds) / step[1]);
  if (step[2] === "second" && amount < 10) return "just now";
  const said = `${amount} ${step[2]}${amount === 1 ? "" : "s"}`;
  return seconds >= 0 ? `${said} ago` : `in ${said}`;
};
setInterval(() => {
  document.querySelectorAll("time[title]").forEach((element) => {
    element.textContent = relative(new Date(element.dateTime));
  });
}, 30000);

// A run's log as it grows. Without this script the page shows its last lines, and loading it again the newer ones.
"use strict";

document.querySelectorAll("[data-stream]").forEach((box) => {
  const MOST = 2000;
  const said = document.getElementById("log-state");
  const source = new EventSource(`${box.dataset.stream}?after=${box.dataset.next}`);
  const atEnd = () => box.scrollTop + box.clientHeight >= box.scrollHeight - 8;
  box.scrollTop = box.scrollHeight;
  source.addEventListener("open", () => { said.textContent = "Live: new lines appear by themselves."; });
  source.addEventListener("log", (event) => {
    const line = JSON.parse(event.data);
    const follow = atEnd();
    const row = document.createElement("span");
    row.className = line.stream;
    row.textContent = `${line.text}\n`;
    box.append(row);
    while (box.childElementCount > MOST) box.firstElementChild.remove();
    if (follow) box.scrollTop = box.scrollHeight;
  });
  source.addEventListener("end", () => {
    source.close();
    location.reload();
  });
  source.addEventListener("error", () => { said.textContent = "The line is cut; trying again."; });
});

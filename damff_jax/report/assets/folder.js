// The index of a folder: its table can be sorted and searched.

const table = document.getElementById("songs");
const body = table.tBodies[0];
const rows = [...body.rows];

function sortBy(heading) {
  const isAscending = heading.getAttribute("aria-sort") !== "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", isAscending ? "ascending" : "descending");
  const value = (row) => row.cells[heading.cellIndex].dataset.sort;
  const order = heading.dataset.key === "number"
    ? (a, b) => value(a) - value(b)
    : (a, b) => value(a).localeCompare(value(b), undefined, { numeric: true });
  rows.sort((a, b) => (isAscending ? order(a, b) : order(b, a)));
  body.append(...rows);
}

for (const heading of table.tHead.querySelectorAll("[data-key]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = heading.textContent;
  heading.replaceChildren(button);
  button.addEventListener("click", () => sortBy(heading));
}

document.getElementById("find").addEventListener("input", (event) => {
  const wanted = event.target.value.trim().toLowerCase();
  for (const row of rows) {
    const names = [...row.cells[0].querySelectorAll("bdi")].map((name) => name.textContent);
    row.hidden = !names.some((name) => name.toLowerCase().includes(wanted));
  }
  const n = rows.filter((row) => !row.hidden).length;
  document.getElementById("found").textContent = wanted ? `${n} of ${rows.length} songs` : "";
});

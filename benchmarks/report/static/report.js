"use strict";
(() => {
  const table = document.getElementById("rows");

  // Sort by a column: numbers by value, what is missing last; a second press turns it round.
  const value = (row, column) => row.cells[column].dataset.value ?? "";
  const order = (a, b) => {
    if (a === "" || b === "") return a === b ? 0 : a === "" ? 1 : -1;
    const [x, y] = [Number(a), Number(b)];
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
  };
  table.tHead.addEventListener("click", (event) => {
    const head = event.target.closest("th");
    if (!head) return;
    const rising = head.getAttribute("aria-sort") !== "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const column = head.cellIndex;
    const rows = [...table.tBodies[0].rows].sort((one, two) => {
      const [a, b] = [value(one, column), value(two, column)];
      return a === "" || b === "" || rising ? order(a, b) : order(b, a);
    });
    table.tBodies[0].append(...rows);
  });

  // Show and hide a series everywhere: charts and table.
  for (const key of document.querySelectorAll(".keys button")) {
    key.addEventListener("click", () => {
      const shown = key.getAttribute("aria-pressed") !== "true";
      key.setAttribute("aria-pressed", String(shown));
      for (const part of document.querySelectorAll(`[data-series="${key.dataset.key}"]`)) {
        part.style.display = shown ? "" : "none";
      }
    });
  }

  // A phone shows the columns that decide; this button shows the others too.
  const more = document.getElementById("more");
  more.addEventListener("click", () => {
    const all = table.classList.toggle("all");
    more.setAttribute("aria-pressed", String(all));
    more.textContent = all ? "Show fewer columns" : "Show all columns";
  });

  const save = (name, type, text) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    URL.revokeObjectURL(link.href);
  };
  const cell = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const csv = () => [...table.rows].map((row) => [...row.cells]
    .map((one) => cell(one.dataset.value ?? one.textContent.trim())).join(",")).join("\n") + "\n";
  document.getElementById("csv").addEventListener("click", () => save("benchmark.csv", "text/csv", csv()));
  document.getElementById("json").addEventListener("click", () =>
    save("benchmark.json", "application/json", document.getElementById("data").textContent));
})();

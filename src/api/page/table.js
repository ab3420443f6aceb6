/** Tables whose columns have words, and whose rows become cards where there is no room. */

export function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== null) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** What each table shows, as it was told. */
let shown = new WeakMap();
/** What they show next is another network's. */
export function forgetTables() {
  shown = new WeakMap();
}

/** What is the same stays as it is: a button that has been pressed, a cell that is about to be copied. */
function isShown(table, rows) {
  const text = JSON.stringify(rows);
  if (shown.get(table) === text) return true;
  if (!isSelected(table)) shown.set(table, text);
  return false;
}

/** Whether somebody is about to copy some of it. */
function isSelected(table) {
  const selection = getSelection();
  return selection !== null && !selection.isCollapsed && selection.containsNode(table, true);
}

/**
 * `columns`: { label, show(row) → text or node, sort(row)?, number?, wrap?, title?(row) }. `sorting`: { column, down } and
 * what a click on a head calls. `empty` is shown when there are no rows.
 */
export function fillTable(table, columns, rows, { sorting, empty } = {}) {
  if (sorting === undefined && isShown(table, rows)) return;
  if (rows.length > 0 && isSelected(table)) return;
  if (empty !== undefined) empty.hidden = rows.length > 0;
  table.hidden = rows.length === 0;
  if (rows.length === 0) return table.replaceChildren();
  const head = element("tr", null);
  for (const column of columns) {
    const cell = element("th", null, { scope: "col", ...(column.number ? { class: "number" } : {}) });
    if (sorting === undefined || column.sort === undefined) cell.textContent = column.label;
    else {
      const chosen = sorting.column === column.label;
      const button = element("button", column.label, { type: "button" });
      button.append(element("span", chosen ? (sorting.down ? " ▼" : " ▲") : "", { "aria-hidden": "true" }));
      button.addEventListener("click", () => sorting.choose(column.label));
      if (chosen) cell.setAttribute("aria-sort", sorting.down ? "descending" : "ascending");
      cell.append(button);
    }
    head.append(cell);
  }
  const thead = element("thead", null);
  thead.append(head);
  const body = element("tbody", null);
  for (const row of rows) {
    const line = element("tr", null);
    for (const column of columns) {
      const cell = element("td", null, { "data-label": column.label });
      if (column.number) cell.className = "number";
      if (column.wrap) cell.className = "wrap";
      const title = column.title?.(row) ?? "";
      if (title !== "") cell.title = title;
      const content = element("span", null);
      content.append(column.show(row));
      cell.append(content);
      line.append(cell);
    }
    body.append(line);
  }
  // A button that has the focus keeps it.
  const active = document.activeElement;
  const focused = active?.closest("table") === table ? (active.getAttribute("aria-label") ?? active.textContent) : null;
  table.replaceChildren(thead, body);
  if (focused !== null)
    [...table.querySelectorAll("button")]
      .find((each) => (each.getAttribute("aria-label") ?? each.textContent) === focused)
      ?.focus();
}

/** A name, and below it what it stands for. */
export function named(name, below) {
  const both = element("span", name);
  if (below !== "" && below !== name) both.append(element("small", below, { class: "dim" }));
  return both;
}

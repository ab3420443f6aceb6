/** Tables with labelled columns. Where there is no room, their rows become cards. */

export function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== null) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** The rows that each table shows, as text. */
let shown = new WeakMap();
/** Forgets the rows: the next ones belong to another network. */
export function forgetTables() {
  shown = new WeakMap();
}

/** Whether the table shows these rows. Then it stays as it is, with a pressed button or a selection in it. */
function isShown(table, rows) {
  const text = JSON.stringify(rows);
  if (shown.get(table) === text) return true;
  if (!isSelected(table)) shown.set(table, text);
  return false;
}

/** Whether the user has selected text in the table, perhaps to copy it. */
function isSelected(table) {
  const selection = getSelection();
  return selection !== null && !selection.isCollapsed && selection.containsNode(table, true);
}

/**
 * `columns`: { label, show(row) → text or node, sort(row)?, number?, wrap?, title?(row) }. `sorting`: { column, down,
 * choose }, of which a click on a column's head calls `choose`. `empty` is the element to show when there are no
 * rows.
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
  // The focus stays on the same button.
  const active = document.activeElement;
  const focused = active?.closest("table") === table ? (active.getAttribute("aria-label") ?? active.textContent) : null;
  table.replaceChildren(thead, body);
  if (focused !== null)
    [...table.querySelectorAll("button")]
      .find((each) => (each.getAttribute("aria-label") ?? each.textContent) === focused)
      ?.focus();
}

/** A name, and below it the address or the like that it stands for. */
export function named(name, below) {
  const both = element("span", name);
  if (below !== "" && below !== name) both.append(element("small", below, { class: "dim" }));
  return both;
}

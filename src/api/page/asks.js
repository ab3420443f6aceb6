/**
 * Questions that wait for a verdict (`--ask`): a row for each, with the rule that would allow the flow, and four
 * answers.
 */
import { get, own, send } from "./api.js";
import { element, fillTable, named } from "./table.js";

const ANSWERS = [
  ["Allow", "allow", "these flows, this once"],
  ["Always", "always", "others like them, too, by a rule"],
  ["Deny", "deny", "these flows; asked again if the guest goes on"],
  ["Never", "never", "others like them, too, by a rule that denies"],
];
const COLUMNS = [
  { label: "Guest", show: ({ guest, cable }) => named(guest, cable ?? ""), wrap: true },
  {
    label: "Wants",
    show: ({ proto, host, remote }) =>
      named(`${proto.toUpperCase()} ${host ?? remote}`, host === null || proto === "dns" ? "" : remote),
    wrap: true,
  },
  { label: "This rule would allow it", show: ({ rule }) => element("code", rule), wrap: true },
  { label: "Flows", number: true, show: ({ waiting }) => String(waiting) },
  { label: "Left", number: true, show: ({ millisLeft }) => `${Math.ceil(millisLeft / 1000)} s` },
  { label: "Answer", show: (question) => answers(question), wrap: true },
];

const $ = (id) => document.getElementById(id);

function answers({ id, rule }) {
  const all = element("span", null, { class: "answers" });
  for (const [word, verdict, title] of ANSWERS) {
    const button = element("button", word, { type: "button", title, "aria-label": `${word}: ${rule}` });
    button.addEventListener("click", () => answer(id, verdict));
    all.append(button, " ");
  }
  return all;
}

async function answer(id, verdict) {
  $("asks-error").textContent = "";
  try {
    await send("POST", own(`asks/${id}`), { verdict });
    showAsks(await get(own("asks")));
  } catch (error) {
    $("asks-error").textContent = error.message;
  }
}

/** Shows the waiting questions. New ones come last, so that a button that is about to be clicked does not move. */
export function showAsks(list) {
  $("asks-section").hidden = list.length === 0 && $("asks-error").textContent === "";
  $("ask-count").textContent = list.length === 0 ? "" : String(list.length);
  fillTable($("asks"), COLUMNS, list);
}

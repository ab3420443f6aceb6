/** The choice of a network, if a process has several: one for each guest, or one for each worker. */
import { network } from "./api.js";
import { element } from "./table.js";

const $ = (id) => document.getElementById(id);
const counted = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

/** The text of an entry. */
function titleOf({ id, worker, guests, hostname, mac, cable }) {
  if (worker !== undefined) return `worker ${worker} (${counted(guests, "guest")})`;
  return `${hostname ?? mac ?? "no lease yet"} (${id}, ${cable})`;
}

/**
 * Shows the networks to choose from. Existing entries keep their elements, so that an open list stays open. Calls
 * `changed` when the network that was shown is gone, or there was none.
 */
export function showChoice(list, each, changed) {
  const select = $("network");
  $("choice").hidden = list.length === 0;
  $("choice-word").textContent = each;
  const chosen = select.value;
  const was = select.selectedOptions[0]?.textContent ?? "";
  const known = new Map([...select.options].map((option) => [option.value, option]));
  let before = null;
  for (const each of list) {
    const option = known.get(each.id) ?? element("option", "", { value: each.id });
    known.delete(each.id);
    const title = titleOf(each);
    if (option.textContent !== title) option.textContent = title;
    const place = before === null ? select.firstChild : before.nextSibling;
    if (option !== place) select.insertBefore(option, place);
    before = option;
  }
  for (const left of known.values()) left.remove();
  if (select.value === chosen) return;
  changed();
  // Says so, lest the user take one guest's figures for another's.
  if (chosen === "" || list.length === 0) return;
  $("left").hidden = false;
  $("left").textContent = `${was} has left; this is ${select.selectedOptions[0].textContent}.`;
}

/** From now on requests are about the chosen network. */
export function takeChoice() {
  const { value } = $("network");
  network.base = value === "" ? "v1" : `v1/networks/${value}`;
  $("left").hidden = true;
}

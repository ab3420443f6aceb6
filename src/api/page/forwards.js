/**
 * Host ports that lead into guests: a list, a form that adds one, and a button that restores one removed by mistake.
 */
import { ask, get, own, send } from "./api.js";
import { element, fillTable } from "./table.js";

const UNDO_MILLIS = 15_000;
const $ = (id) => document.getElementById(id);
const told = (error) => {
  $("publish-error").textContent = error.message;
};

const FORWARDS = [
  { label: "Host", show: ({ host }) => host, wrap: true },
  { label: "leads to", show: ({ proto, guest }) => `${guest}${proto === "udp" ? " (UDP)" : ""}`, wrap: true },
  {
    label: "",
    show: (forward) => {
      const button = element("button", "Remove", { type: "button", "aria-label": `Remove ${forward.host}` });
      button.addEventListener("click", () => remove(forward));
      return button;
    },
  },
];

/** Reads the forwards again: other programs may add and remove them, too. */
export async function readForwards() {
  fillTable($("forwards"), FORWARDS, await get(own("forwards")), { empty: $("forwards-empty") });
}

let removed = null;
async function remove({ id, proto, host, guest }) {
  $("publish-error").textContent = "";
  try {
    await ask(own(`forwards/${id}`), { method: "DELETE" });
    removed = host.startsWith("unix:") ? `${host}-${guest}` : `${proto}:${host}-${guest}`;
    $("removed").firstElementChild.textContent = `${host} is removed; its connections go on.`;
    $("removed").hidden = false;
    const mine = removed;
    setTimeout(() => {
      if (removed === mine) $("removed").hidden = true;
    }, UNDO_MILLIS);
    // The button that had the focus disappears.
    $("undo").focus();
    await readForwards();
  } catch (error) {
    told(error);
  }
}

async function publish(rule) {
  $("publish-error").textContent = "";
  try {
    await send("POST", own("forwards"), { rule });
    await readForwards();
    return true;
  } catch (error) {
    told(error);
    return false;
  }
}

/** Forgets the removed forward and the error, which belong to another network. */
export function forgetForwards() {
  removed = null;
  $("removed").hidden = true;
  $("publish-error").textContent = "";
}

$("undo").addEventListener("click", async () => {
  if (await publish(removed)) $("removed").hidden = true;
});
$("rule").addEventListener("input", () => {
  $("publish-error").textContent = "";
});
$("publish").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (await publish($("rule").value)) $("rule").value = "";
});

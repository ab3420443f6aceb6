/** The page: asks the API once a second while it is visible, and shows the answers. It loads nothing from elsewhere. */
import { Gone, get, NoToken, network, own, send, token } from "./api.js";
import { showAsks } from "./asks.js";
import { explainFlows, newFlows, showFlows } from "./flows.js";
import { forgetForwards, readForwards } from "./forwards.js";
import { forgetLine, readLine, showSliders } from "./line.js";
import { showChoice, takeChoice } from "./networks.js";
import { watching, watchPackets } from "./packets.js";
import { Plot } from "./plot.js";
import { element, fillTable, forgetTables, named } from "./table.js";
import { clock, human, millis, resultWord, typeWord } from "./words.js";

const POLL_MILLIS = 1000;
/** Milliseconds between two requests for things that seldom change, such as forwards: others may change them, too. */
const SELDOM_MILLIS = 2_000;

const $ = (id) => document.getElementById(id);
const told = (id) => (error) => {
  $(id).textContent = error.message;
};

// The server, or its absence.

/** The time since which the page shows old data; null while it is up to date. */
let stale = null;
function showTrouble(error) {
  stale = error === null ? null : (stale ?? Date.now());
  $("gone").hidden = error === null;
  $("main").classList.toggle("stale", error !== null);
  if (error === null) $("gone").textContent = "";
  else {
    const what = error instanceof Gone ? "tslirp has not answered" : `tslirp says “${error.message}”`;
    $("gone").textContent = `${what} since ${clock(stale)}. What stands here is from then; the page goes on asking.`;
  }
}

// Areas that scroll can be reached by the keyboard, too.
for (const scroll of document.querySelectorAll(".scroll")) {
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "group");
  scroll.setAttribute("aria-label", scroll.dataset.name);
}

$("token-port").textContent = location.port;
$("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  token.value = $("token").value.trim();
  sessionStorage.setItem("token", token.value);
  $("token").value = "";
  $("token-error").textContent = "";
  void begin();
});

function wantToken(asked) {
  $("sign-in").hidden = false;
  $("main").hidden = true;
  $("status").textContent = "";
  if (asked) $("token-error").textContent = "This is not the token of the tslirp that answers here.";
  $("token").focus();
}

// Throughput.

const plot = new Plot($("plot"));
let before = null;
function sample(status) {
  const at = performance.now();
  const { bytesIn, bytesOut } = status;
  if (before !== null) {
    const seconds = (at - before.at) / 1000;
    const rate = (now, then) => Math.max(0, ((now - then) * 8) / seconds);
    const [up, down] = [rate(bytesIn, before.bytesIn), rate(bytesOut, before.bytesOut)];
    plot.add(at, up, down);
    $("rate-up").textContent = human(up, "bit/s");
    $("rate-down").textContent = human(down, "bit/s");
  }
  before = { at, bytesIn, bytesOut };
  $("sum").textContent = `${human(bytesIn, "B")} and ${human(bytesOut, "B")}`;
}

function gap() {
  if (before !== null) plot.add(performance.now(), null, null);
  before = null;
}

/** Reads the throughput of the time before the page was opened, or while it was hidden. */
async function readHistory() {
  const { samples } = await get(own("history"));
  plot.fill(performance.now(), samples);
}

// The network that is shown, if there are several.

function showNobody(nobody) {
  $("nobody").hidden = !nobody;
  $("main").hidden = nobody;
  if (nobody) $("left").hidden = true;
}

function choose() {
  takeChoice();
  before = null;
  flowsDue = 0;
  seldomDue = 0;
  historyDue = true;
  forgetForwards();
  forgetLine();
  forgetTables();
  plot.clear();
  watchPackets(false);
}
$("network").addEventListener("change", choose);

// Tables.

const GUESTS = [
  { label: "Name", show: ({ hostname }) => hostname ?? "—", wrap: true },
  { label: "Address", show: ({ ip }) => ip },
  { label: "MAC", show: ({ mac }) => mac },
  { label: "Cable", show: ({ cable }) => cable ?? "—", wrap: true },
];
const NAMES = [
  { label: "Time", show: ({ time }) => clock(time) },
  { label: "Name", show: ({ name, qtype }) => named(name, typeWord(qtype)), wrap: true },
  {
    label: "Answer",
    show: ({ rcode, addresses = [] }) => (addresses.length === 0 ? resultWord(rcode) : addresses.join(", ")),
    wrap: true,
  },
  { label: "Took", number: true, show: ({ millis: took }) => millis(took) },
];
const REFUSED = [
  { label: "Time", show: ({ time }) => clock(time) },
  { label: "Guest", show: ({ guest, process }) => named(process ?? guest, process === undefined ? "" : guest) },
  { label: "Times", number: true, show: ({ count }) => String(count ?? 1) },
  {
    label: "Wanted",
    show: ({ proto, host, remote, types = [] }) =>
      named(`${proto.toUpperCase()} ${host ?? remote}`, host === null ? "" : types.join(", ") || remote),
    wrap: true,
  },
  { label: "Reason", show: ({ reason }) => reason, wrap: true },
  { label: "This rule would allow it", show: (refusal) => allowing(refusal), wrap: true },
];

/** The rule, and a button that puts the rule before all others. */
function allowing(refusal) {
  const rule = refusal.remedy ?? null;
  if (rule === null) return "—";
  const both = element("span", null);
  const button = element("button", "Allow", { type: "button", "aria-label": `Allow: ${rule}` });
  button.addEventListener("click", async () => {
    $("refusals-error").textContent = "";
    try {
      const { rules } = await get(own("rules"));
      await send("PUT", own("rules"), { rules: [rule, ...rules] });
      button.textContent = "Allowed";
      button.setAttribute("aria-label", `Allowed: ${rule}`);
      button.disabled = true;
    } catch (error) {
      told("refusals-error")(error);
    }
  });
  both.append(element("code", rule), " ", button);
  return both;
}

const redrawFlows = () => showFlows($("flow-filter").value, $("flows"), $("flow-count"), $("flows-empty"));
$("flow-filter").addEventListener("input", redrawFlows);
explainFlows($("flow-words").querySelector("dl"));

// Requests, once a second while the page is visible.

const duration = (seconds) =>
  seconds < 120
    ? `${Math.round(seconds)} s`
    : seconds < 7200
      ? `${Math.round(seconds / 60)} min`
      : `${Math.round(seconds / 3600)} h`;
const counted = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

/** Says how a guest can attach while there is none. `listening` are the addresses at which it may. */
function toCome(listening) {
  const ways = listening.flatMap(({ address, qemu }) =>
    qemu === null
      ? [" Or give an emulator in a web page this address as its relay: ", element("code", address), "."]
      : [" Start QEMU with ", element("code", qemu), "."],
  );
  return ways.length > 0 ? ways : [" Start QEMU with the arguments that tslirp serve has printed."];
}

let networks = [];
/** When flows, the list of networks, and the things that seldom change are asked for next. */
let flowsDue = 0;
let networksDue = 0;
let seldomDue = 0;
let historyDue = true;
async function look() {
  let status = await get("v1/status");
  let { listening } = status;
  if (status.networks !== undefined) {
    const { version, uptimeSeconds, workers } = status;
    if (performance.now() >= networksDue) {
      networks = await get("v1/networks");
      networksDue = performance.now() + networks.length;
      showChoice(networks, workers === undefined ? "Guest" : "Worker", choose);
      showNobody(networks.length === 0);
    }
    const there =
      workers === undefined
        ? `${counted(status.networks, "guest")}, a network for each`
        : `${counted(workers, "worker")}, a network for each · ${counted(status.guests, "guest")}`;
    $("status").textContent = `${version} · ${there} · up ${duration(uptimeSeconds)}`;
    if (networks.length === 0) {
      $("nobody").replaceChildren(
        "No guest yet. Each that comes has a network of its own and can be chosen here.",
        ...toCome(listening),
      );
      return;
    }
    status = await get(own("status"));
    listening = listening.concat(status.listening);
  } else {
    const { net, host, version, uptimeSeconds, cables } = status;
    $("status").textContent =
      `${version} · ${net}, gateway ${host} · ${counted(cables.length, "cable")} · up ${duration(uptimeSeconds)}`;
  }
  // The user may choose another network while answers about this one are on their way.
  const { base } = network;
  if (historyDue) await readHistory();
  historyDue = false;
  const due = performance.now() >= flowsDue;
  const [flows, leases, dns, refusals, asks] = await Promise.all([
    due ? get(own("flows")) : null,
    get(own("leases")),
    get(own("dns?last=100")),
    get(own("refusals?last=100")),
    get(own("asks")),
  ]);
  if (network.base !== base) return;
  sample(status);
  if (flows !== null) {
    // A list of many flows costs the network time, so the pause grows: at most a thousand flows a second are asked for.
    flowsDue = performance.now() + flows.length;
    newFlows(flows, leases);
    redrawFlows();
  }
  if (status.cables.length > 0) $("leases-empty").textContent = "A guest is plugged in and has no address by DHCP yet.";
  else $("leases-empty").replaceChildren("No guest yet.", ...toCome(listening));
  fillTable($("leases"), GUESTS, leases, { empty: $("leases-empty") });
  fillTable($("dns"), NAMES, dns.reverse(), { empty: $("dns-empty") });
  showAsks(asks);
  $("refusal-count").textContent = refusals.length === 0 ? "" : `the last ${refusals.length}`;
  // A button that is about to be clicked must not move.
  if (!$("refusals").matches(":hover, :focus-within"))
    fillTable($("refusals"), REFUSED, refusals.reverse(), { empty: $("refusals-empty") });
  if (performance.now() < seldomDue) return;
  seldomDue = performance.now() + SELDOM_MILLIS;
  await Promise.all([readForwards(), readLine()]);
}

async function poll() {
  if (!document.hidden && $("sign-in").hidden) {
    try {
      await look();
      if (stale !== null) showTrouble(null);
    } catch (error) {
      gap();
      // If the guest has just left, its network is gone, and there may be another one.
      networksDue = 0;
      seldomDue = 0;
      if (error instanceof NoToken) {
        showTrouble(null);
        wantToken(token.value !== null);
      } else showTrouble(error);
    }
  }
  setTimeout(poll, POLL_MILLIS);
}

// A hidden page asks for nothing, and its packet list pauses.
let watched = false;
document.addEventListener("visibilitychange", () => {
  if (document.hidden) watched = watching();
  else {
    historyDue = true;
    before = null;
  }
  if (watched) watchPackets(!document.hidden);
});

async function begin() {
  try {
    await get("v1/status");
    $("sign-in").hidden = true;
    $("main").hidden = false;
    $("status").textContent = "connecting…";
  } catch (error) {
    if (error instanceof NoToken) wantToken(token.value !== null);
  }
}

showSliders();
void begin();
void poll();

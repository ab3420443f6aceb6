/** The page: asks the API once a second while it is seen, and shows what it says. Nothing comes from elsewhere. */
import { ask, Gone, get, NoToken, network, own, send, token } from "./api.js";
import { showAsks } from "./asks.js";
import { newFlows, showFlows } from "./flows.js";
import { Plot } from "./plot.js";
import { element, fillTable, named } from "./table.js";
import { clock, human, millis, resultWord, typeWord } from "./words.js";

const POLL_MILLIS = 1000;
const MAX_PACKETS = 500;
const MAX_RECORDING = 64e6;
const UNDO_MILLIS = 15_000;

const $ = (id) => document.getElementById(id);
const told = (id) => (error) => {
  $(id).textContent = error.message;
};

// The server, or its absence

let gone = null;
function showGone(since) {
  gone = since;
  $("gone").hidden = since === null;
  $("main").classList.toggle("stale", since !== null);
  $("gone").textContent =
    since === null
      ? ""
      : `tslirp has not answered since ${clock(since)}. What stands here is from then; the page goes on asking.`;
}

// What scrolls is reached by the keyboard, too.
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

// Throughput

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

// Which network, where each guest has one

const QEMU = "-netdev stream,id=n0,server=off,addr.type=unix,addr.path=… -device virtio-net-pci,netdev=n0";
function showNobody(nobody) {
  $("nobody").hidden = !nobody;
  $("main").hidden = nobody;
  if (nobody) $("left").hidden = true;
}

function showChoice(list) {
  $("choice").hidden = list.length === 0;
  const chosen = $("network").value;
  const was = $("network").selectedOptions[0]?.textContent ?? "";
  const options = list.map(({ id, hostname, mac, cable }) => {
    const option = element("option", `${hostname ?? mac ?? "no lease yet"} (${id}, ${cable})`, { value: id });
    option.selected = id === chosen;
    return option;
  });
  $("network").replaceChildren(...options);
  if ($("network").value === chosen) return;
  choose();
  // Nobody should take one guest's figures for another's.
  if (chosen === "" || list.length === 0) return;
  $("left").hidden = false;
  $("left").textContent = `${was} has left; this is ${$("network").selectedOptions[0].textContent}.`;
}

function choose() {
  network.base = $("network").value === "" ? "v1" : `v1/networks/${$("network").value}`;
  before = null;
  flowsDue = 0;
  $("left").hidden = true;
  // What was removed was another guest's.
  $("removed").hidden = true;
  $("publish-error").textContent = "";
  plot.clear();
  watchPackets(false);
  once();
}
$("network").addEventListener("change", choose);

// Tables

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

/** The rule, and a button that puts it before all others. */
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
      button.disabled = true;
    } catch (error) {
      told("refusals-error")(error);
    }
  });
  both.append(element("code", rule), " ", button);
  return both;
}

const FORWARDS = [
  { label: "Host", show: ({ host }) => host, wrap: true },
  { label: "leads to", show: ({ proto, guest }) => `${guest}${proto === "udp" ? " (UDP)" : ""}` },
  {
    label: "",
    show: (forward) => {
      const button = element("button", "Remove", { type: "button", "aria-label": `Remove ${forward.host}` });
      button.addEventListener("click", () => removeForward(forward));
      return button;
    },
  },
];
const showForwards = (list) => fillTable($("forwards"), FORWARDS, list, { empty: $("forwards-empty") });

let removed = null;
async function removeForward({ id, proto, host, guest }) {
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
    showForwards(await get(own("forwards")));
  } catch (error) {
    told("publish-error")(error);
  }
}

async function publish(rule) {
  $("publish-error").textContent = "";
  try {
    await send("POST", own("forwards"), { rule });
    showForwards(await get(own("forwards")));
    return true;
  } catch (error) {
    told("publish-error")(error);
    return false;
  }
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
const redrawFlows = () => showFlows($("flow-filter").value, $("flows"), $("flow-count"), $("flows-empty"));
$("flow-filter").addEventListener("input", redrawFlows);

// Impairment: the slider of a line's rate is exponential

const rateOf = (step) => (step === 0 ? undefined : Math.round(1e4 * 10 ** (step / 10)));
const SHOWN = {
  delay: (value) => `${value} ms`,
  jitter: (value) => `${value} ms`,
  loss: (value) => `${value} %`,
  rate: (value) => (value === 0 ? "no limit" : human(rateOf(value), "bit/s")),
};

function showSliders() {
  let good = true;
  for (const input of $("impair").querySelectorAll("input")) {
    const value = Number(input.value);
    input.parentElement.querySelector("output").textContent = SHOWN[input.name](value);
    input.setAttribute("aria-valuetext", SHOWN[input.name](value));
    good &&= value === 0;
  }
  $("impair-state").textContent = good ? "The line is as good as it is." : "All guests’ lines are made this bad.";
}

$("impair").addEventListener("input", showSliders);
$("impair").addEventListener("change", async () => {
  const value = (name) => Number($("impair").elements[name].value);
  const rule = { delay: value("delay"), jitter: Math.min(value("jitter"), value("delay")), loss: value("loss") / 100 };
  const rate = rateOf(value("rate"));
  const clean = rule.delay === 0 && rule.loss === 0 && rate === undefined;
  $("impair-error").textContent = "";
  const rules = clean ? [] : [{ ...rule, ...(rate === undefined ? {} : { rate }) }];
  await send("PUT", own("impairment"), { rules }).catch(told("impair-error"));
});

async function readSliders() {
  const [rule] = (await get(own("impairment"))).rules;
  const set = (name, value) => {
    $("impair").elements[name].value = value;
  };
  set("delay", rule?.delay ?? 0);
  set("jitter", rule?.jitter ?? 0);
  set("loss", (rule?.loss ?? 0) * 100);
  set("rate", rule?.rate === undefined ? 0 : Math.round(10 * Math.log10(rule.rate / 1e4)));
  showSliders();
}

// Packets

let packets = null;
function watchPackets(on) {
  packets?.close();
  packets = null;
  $("watch-button").setAttribute("aria-pressed", String(on));
  $("packet-note").textContent = "";
  if (!on) return;
  const query = new URLSearchParams({ token: token.value ?? "" });
  const filter = $("packet-filter").value.trim();
  if (filter !== "") query.set("filter", filter);
  packets = new EventSource(`${own("packets")}?${query}`);
  packets.addEventListener("packet", ({ data }) => addPacket(JSON.parse(data)));
  packets.addEventListener("skipped", ({ data }) => {
    $("packet-note").textContent = `${JSON.parse(data).count} more in this second than can be shown`;
  });
  packets.addEventListener("error", () => {
    watchPackets(false);
    $("packet-note").textContent = "the list has ended; is the filter right?";
  });
}

function addPacket({ time, direction, length, summary, layers }) {
  const at = new Date(time).toISOString().slice(11, 23);
  const arrow = direction === "in" ? "→" : "←";
  const details = element("details", null);
  details.append(element("summary", `${at} ${arrow} ${String(length).padStart(5)}  ${summary}`));
  for (const layer of layers) {
    const list = element("dl", null);
    list.append(element("dt", layer.name), element("dd", ""));
    for (const [label, value] of layer.fields) list.append(element("dt", label), element("dd", value));
    details.append(list);
  }
  const line = element("li", null, { class: direction === "in" ? "up" : "down" });
  line.append(details);
  $("packets").prepend(line);
  while ($("packets").childElementCount > MAX_PACKETS) $("packets").lastElementChild.remove();
}

$("watch").addEventListener("submit", (event) => {
  event.preventDefault();
  watchPackets(packets === null);
});

let recording = null;
$("record-button").addEventListener("click", async () => {
  if (recording !== null) {
    recording.abort();
    return;
  }
  recording = new AbortController();
  $("record-button").setAttribute("aria-pressed", "true");
  $("record-button").textContent = "Stop";
  const filter = $("packet-filter").value.trim();
  const query = filter === "" ? "" : `?${new URLSearchParams({ filter })}`;
  const chunks = [];
  let size = 0;
  try {
    const { body } = await ask(own(`capture${query}`), { signal: recording.signal });
    for await (const chunk of body) {
      chunks.push(chunk);
      size += chunk.length;
      $("packet-note").textContent = `recorded ${human(size, "B")} of at most ${human(MAX_RECORDING, "B")}`;
      if (size > MAX_RECORDING) recording.abort();
    }
  } catch (error) {
    if (error.name !== "AbortError") told("packet-note")(error);
    else if (size > MAX_RECORDING) $("packet-note").textContent = `the recording is full: ${human(size, "B")}`;
  }
  recording = null;
  $("record-button").setAttribute("aria-pressed", "false");
  $("record-button").textContent = "Record";
  const link = $("download");
  URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(new Blob(chunks, { type: "application/x-pcapng" }));
  link.hidden = chunks.length === 0;
});

// Once a second, while somebody looks

const duration = (seconds) =>
  seconds < 120
    ? `${Math.round(seconds)} s`
    : seconds < 7200
      ? `${Math.round(seconds / 60)} min`
      : `${Math.round(seconds / 3600)} h`;
const counted = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

/** Not where the server does not know them. */
let refusalsTold = true;
function noRefusals(error) {
  if (error instanceof Gone || error instanceof NoToken) throw error;
  refusalsTold = false;
  return [];
}

/** When flows are asked for next. */
let flowsDue = 0;
async function look() {
  let status = await get("v1/status");
  if (status.perGuest) {
    const { version, uptimeSeconds } = status;
    const list = await get("v1/networks");
    showChoice(list);
    showNobody(list.length === 0);
    $("status").textContent =
      `${version} · ${counted(list.length, "guest")}, a network for each · up ${duration(uptimeSeconds)}`;
    if (list.length === 0) return;
    status = await get(own("status"));
  } else {
    const { net, host, version, uptimeSeconds, cables } = status;
    $("status").textContent =
      `${version} · ${net}, gateway ${host} · ${counted(cables.length, "cable")} · up ${duration(uptimeSeconds)}`;
  }
  const due = performance.now() >= flowsDue;
  const [flows, leases, dns, refusals, asks] = await Promise.all([
    due ? get(own("flows")) : null,
    get(own("leases")),
    get(own("dns?last=100")),
    refusalsTold ? get(own("refusals?last=100")).catch(noRefusals) : [],
    refusalsTold ? get(own("asks")).catch(noRefusals) : [],
  ]);
  sample(status);
  if (flows !== null) {
    // Telling of many costs the network: a thousand a second are asked for.
    flowsDue = performance.now() + flows.length;
    newFlows(flows, leases);
    redrawFlows();
  }
  if (status.cables.length > 0) $("leases-empty").textContent = "A guest is plugged in and has no address by DHCP yet.";
  else
    $("leases-empty").replaceChildren(
      "No guest yet: start QEMU with ",
      element("code", QEMU),
      ", as tslirp serve has printed it.",
    );
  fillTable($("leases"), GUESTS, leases, { empty: $("leases-empty") });
  fillTable($("dns"), NAMES, dns.reverse(), { empty: $("dns-empty") });
  showAsks(asks);
  $("refusal-count").textContent = refusals.length === 0 ? "" : `the last ${refusals.length}`;
  // A button that is about to be clicked stays where it is.
  if (!$("refusals").matches(":hover, :focus-within"))
    fillTable($("refusals"), REFUSED, refusals.reverse(), { empty: $("refusals-empty") });
}

async function poll() {
  if (!document.hidden && $("sign-in").hidden) {
    try {
      await look();
      if (gone !== null) showGone(null);
    } catch (error) {
      gap();
      if (error instanceof NoToken) wantToken(token.value !== null);
      else if (error instanceof Gone) showGone(gone ?? Date.now());
      else $("status").textContent = error.message;
    }
  }
  setTimeout(poll, POLL_MILLIS);
}

// A page that nobody sees asks for nothing: neither does its packet list.
let watched = false;
document.addEventListener("visibilitychange", () => {
  if (document.hidden) watched = packets !== null;
  if (watched) watchPackets(!document.hidden);
});

/** What changes only by this page, or seldom. */
function once() {
  if (network.base === "v1" && !$("choice").hidden) return;
  get(own("forwards")).then(showForwards).catch(told("publish-error"));
  readSliders().catch(told("impair-error"));
}

async function begin() {
  try {
    const { perGuest } = await get("v1/status");
    $("sign-in").hidden = true;
    $("main").hidden = false;
    if (!perGuest) once();
  } catch (error) {
    if (error instanceof NoToken) wantToken(token.value !== null);
  }
}

showSliders();
void begin();
void poll();

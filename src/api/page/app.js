/** The page: asks the API once a second while it is seen, and draws what it says. Nothing comes from elsewhere. */

const token = takeToken();
const POLL_MILLIS = 1000;
const SAMPLES = 120;
const MAX_PACKETS = 500;
const MAX_RECORDING = 64 * 1_048_576;

const $ = (id) => document.getElementById(id);

/** The token stands in the address once; then in this tab's memory only. */
function takeToken() {
  const url = new URL(location.href);
  const given = url.searchParams.get("token");
  if (given !== null) {
    sessionStorage.setItem("token", given);
    url.searchParams.delete("token");
    history.replaceState(null, "", url);
  }
  return sessionStorage.getItem("token");
}

async function ask(path, options = {}) {
  const headers = { ...options.headers, authorization: `Bearer ${token}` };
  const response = await fetch(path, { ...options, headers });
  if (!response.ok) throw new Error((await response.json().catch(() => ({}))).error ?? `status ${response.status}`);
  return response;
}

const get = async (path) => (await ask(path)).json();
const send = async (method, path, body) =>
  ask(path, { method, body: JSON.stringify(body), headers: { "content-type": "application/json" } });

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== null) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

const UNITS = ["", "k", "M", "G"];
function human(value, unit) {
  let step = 0;
  while (value >= 1000 && step < UNITS.length - 1) {
    value /= 1000;
    step++;
  }
  return `${value >= 100 || step === 0 ? Math.round(value) : value.toFixed(1)} ${UNITS[step]}${unit}`;
}

// Throughput

const samples = [];
let before = null;

function sample(status) {
  const now = performance.now();
  const { bytesIn, bytesOut } = status;
  if (before !== null) {
    const seconds = (now - before.now) / 1000;
    samples.push({
      up: ((bytesIn - before.bytesIn) * 8) / seconds,
      down: ((bytesOut - before.bytesOut) * 8) / seconds,
    });
    if (samples.length > SAMPLES) samples.shift();
  }
  before = { now, bytesIn, bytesOut };
  const last = samples.at(-1) ?? { up: 0, down: 0 };
  $("rate-up").textContent = human(last.up, "bit/s");
  $("rate-down").textContent = human(last.down, "bit/s");
  draw();
}

function draw() {
  const canvas = $("plot");
  const scale = devicePixelRatio;
  canvas.width = canvas.clientWidth * scale;
  canvas.height = canvas.clientHeight * scale;
  const paint = canvas.getContext("2d");
  const most = Math.max(1e6, ...samples.flatMap(({ up, down }) => [up, down]));
  const { width, height } = canvas;
  paint.font = `${12 * scale}px system-ui`;
  paint.fillStyle = getComputedStyle($("status")).color;
  paint.fillText(human(most, "bit/s"), 4 * scale, 14 * scale);
  for (const [key, className] of [
    ["up", ".up"],
    ["down", ".down"],
  ]) {
    paint.strokeStyle = getComputedStyle(document.querySelector(className)).color;
    paint.lineWidth = 2 * scale;
    paint.beginPath();
    samples.forEach((each, i) => {
      const x = ((i + SAMPLES - samples.length) / (SAMPLES - 1)) * width;
      const y = height - 2 * scale - (each[key] / most) * (height - 22 * scale);
      if (i === 0) paint.moveTo(x, y);
      else paint.lineTo(x, y);
    });
    paint.stroke();
  }
}

// Tables

const FLOW_COLUMNS = [
  "proto",
  "guest",
  "remote",
  "host",
  "state",
  "direction",
  "bytesUp",
  "bytesDown",
  "rtt",
  "retransmissions",
];
const sorting = { column: "bytesDown", down: true };

function fillTable(table, columns, rows, options = {}) {
  const head = element("tr", null);
  for (const column of columns) {
    const cell = element("th", null, { scope: "col" });
    if (options.sort === undefined) cell.textContent = column;
    else {
      const button = element("button", column, { type: "button" });
      button.addEventListener("click", () => options.sort(column));
      if (sorting.column === column) cell.setAttribute("aria-sort", sorting.down ? "descending" : "ascending");
      cell.append(button);
    }
    head.append(cell);
  }
  const body = rows.map((row) => {
    const line = element("tr", null);
    for (const column of columns) {
      const value = row[column];
      const isNumber = typeof value === "number";
      const text = isNumber && !Number.isInteger(value) ? value.toFixed(2) : String(value ?? "");
      line.append(element("td", text, isNumber ? { class: "number" } : {}));
    }
    if (options.action !== undefined) {
      const cell = element("td", null);
      cell.append(options.action(row));
      line.append(cell);
    }
    return line;
  });
  // The sort button that has the focus keeps it.
  const focused = document.activeElement?.closest("table") === table ? document.activeElement.textContent : null;
  table.replaceChildren(head, ...body);
  if (focused !== null) [...table.querySelectorAll("button")].find((each) => each.textContent === focused)?.focus();
}

let flows = [];
/** When they are asked for next. */
let flowsDue = 0;
function showFlows() {
  const wanted = $("flow-filter").value.toLowerCase();
  const shown = flows.filter((flow) => Object.values(flow).join(" ").toLowerCase().includes(wanted));
  const { column, down } = sorting;
  shown.sort((a, b) => {
    const [x, y] = [a[column] ?? "", b[column] ?? ""];
    const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
    return down ? -order : order;
  });
  $("flow-count").textContent = `${shown.length} of ${flows.length}`;
  const columns = FLOW_COLUMNS.filter((name) => flows.length === 0 || flows.some((flow) => flow[name] !== undefined));
  fillTable($("flows"), columns, shown.slice(0, 500), {
    sort: (name) => {
      sorting.down = sorting.column === name ? !sorting.down : true;
      sorting.column = name;
      showFlows();
    },
  });
}

function showForwards(forwards) {
  fillTable($("forwards"), ["proto", "host", "guest"], forwards, {
    action: ({ id, host }) => {
      const button = element("button", "Remove", { type: "button", "aria-label": `Remove ${host}` });
      button.addEventListener("click", async () => {
        await ask(`v1/forwards/${id}`, { method: "DELETE" }).catch(told("publish-error"));
        showForwards(await get("v1/forwards"));
      });
      return button;
    },
  });
}

const told = (id) => (error) => {
  $(id).textContent = error.message;
};

$("flow-filter").addEventListener("input", showFlows);
$("publish").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("publish-error").textContent = "";
  try {
    await send("POST", "v1/forwards", { rule: $("rule").value });
    $("rule").value = "";
    showForwards(await get("v1/forwards"));
  } catch (error) {
    told("publish-error")(error);
  }
});

// Impairment: sliders are exponential where a line's rates are

const rateOf = (step) => (step === 0 ? undefined : Math.round(1e4 * 10 ** (step / 10)));
const SHOWN = {
  delay: (value) => `${value} ms`,
  jitter: (value) => `${value} ms`,
  loss: (value) => `${value} %`,
  rate: (value) => (value === 0 ? "no limit" : human(rateOf(value), "bit/s")),
};

function showSliders() {
  for (const input of $("impair").querySelectorAll("input"))
    input.parentElement.querySelector("output").textContent = SHOWN[input.name](Number(input.value));
}

$("impair").addEventListener("input", showSliders);
$("impair").addEventListener("change", async () => {
  const value = (name) => Number($("impair").elements[name].value);
  const rule = { delay: value("delay"), jitter: Math.min(value("jitter"), value("delay")), loss: value("loss") / 100 };
  const rate = rateOf(value("rate"));
  const clean = rule.delay === 0 && rule.loss === 0 && rate === undefined;
  $("impair-error").textContent = "";
  const rules = clean ? [] : [{ ...rule, ...(rate === undefined ? {} : { rate }) }];
  await send("PUT", "v1/impairment", { rules }).catch(told("impair-error"));
});

async function readSliders() {
  const [rule] = (await get("v1/impairment")).rules;
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
  const query = new URLSearchParams({ token: token ?? "" });
  const filter = $("packet-filter").value.trim();
  if (filter !== "") query.set("filter", filter);
  packets = new EventSource(`v1/packets?${query}`);
  packets.addEventListener("packet", ({ data }) => addPacket(JSON.parse(data)));
  packets.addEventListener("skipped", ({ data }) => {
    $("packet-note").textContent = `${JSON.parse(data).count} more than can be shown`;
  });
  packets.addEventListener("error", () => {
    $("packet-note").textContent = "the stream ended; is the filter right?";
    watchPackets(false);
  });
}

function addPacket({ time, direction, length, summary, layers }) {
  const clock = new Date(time).toISOString().slice(11, 23);
  const arrow = direction === "in" ? "→" : "←";
  const details = element("details", null);
  details.append(element("summary", `${clock} ${arrow} ${String(length).padStart(5)}  ${summary}`));
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
  const filter = $("packet-filter").value.trim();
  const query = filter === "" ? "" : `?${new URLSearchParams({ filter })}`;
  const chunks = [];
  try {
    const { body } = await ask(`v1/capture${query}`, { signal: recording.signal });
    let size = 0;
    for await (const chunk of body) {
      chunks.push(chunk);
      size += chunk.length;
      $("packet-note").textContent = `recorded ${human(size, "B")}`;
      if (size > MAX_RECORDING) recording.abort();
    }
  } catch (error) {
    if (error.name !== "AbortError") told("packet-note")(error);
  }
  recording = null;
  $("record-button").setAttribute("aria-pressed", "false");
  const link = $("download");
  URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(new Blob(chunks, { type: "application/x-pcapng" }));
  link.hidden = chunks.length === 0;
});

// Once a second, while somebody looks

async function poll() {
  if (!document.hidden) {
    try {
      const [status, nextFlows, leases, dns] = await Promise.all([
        get("v1/status"),
        performance.now() < flowsDue ? flows : get("v1/flows"),
        get("v1/leases"),
        get("v1/dns?last=100"),
      ]);
      sample(status);
      const { net, host, version, uptimeSeconds, cables } = status;
      $("status").textContent =
        `${version} · ${net}, gateway ${host} · cables: ${cables.length} · up ${Math.round(uptimeSeconds)} s`;
      if (nextFlows !== flows) {
        flows = nextFlows;
        // Telling of many costs the network: a thousand a second are asked for.
        flowsDue = performance.now() + flows.length;
        showFlows();
      }
      fillTable($("leases"), ["ip", "mac", "hostname"], leases);
      const log = dns
        .reverse()
        .map(({ time, ...query }) => ({ time: new Date(time).toISOString().slice(11, 19), ...query }));
      fillTable($("dns"), ["time", "name", "qtype", "rcode", "millis"], log);
    } catch (error) {
      before = null;
      $("status").textContent = error.message;
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

addEventListener("resize", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
showSliders();
poll();
get("v1/forwards").then(showForwards).catch(told("publish-error"));
readSliders().catch(told("impair-error"));

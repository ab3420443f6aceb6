/** Flows: their rates, from the bytes since the last look. Pings of one pair are shown as one flow. */
import { sparkline } from "./plot.js";
import { element, fillTable, named } from "./table.js";
import { human, millis, STATE_WORDS, stateWords } from "./words.js";

const SHOWN = 500;
const RATES = 30;
const sorting = { column: "To guest", down: true };
let flows = [];
let names = new Map();
/** For each flow: its bytes at the last look, the time of that look, and its latest rates. */
let known = new Map();

const guestName = (flow) => names.get(flow.guest.replace(/^\[?(.*?)\]?(?::\d+)?$/, "$1")) ?? null;
const address = (flow) => (flow.count > 1 ? `${flow.guest}, ${flow.count} of them` : flow.guest);
/** The far end's name is the one that the guest has resolved. Other names may have the same address. */
const GUESS = "the name that the guest had resolved to this address; it may serve others, too";
const ROUND_TRIP = "between tslirp and the guest";
const AGAIN = "segments that the guest did not acknowledge in time";
/** The meanings of the columns' words, also for users without a pointer to hold over them. */
const WORDS = [
  ["≈ name", GUESS],
  ["out, in", "begun by the guest, or by the far end through a forward"],
  ["Round trip", ROUND_TRIP],
  ["Sent again", AGAIN],
];

const COLUMNS = [
  {
    label: "Guest",
    show: (flow) =>
      named(
        guestName(flow) ?? flow.guest,
        guestName(flow) === null ? (flow.count > 1 ? address(flow) : "") : address(flow),
      ),
    sort: (flow) => guestName(flow) ?? flow.guest,
  },
  {
    label: "Far end",
    show: (flow) => (flow.host === null ? flow.remote : named(`≈ ${flow.host}`, flow.remote)),
    title: (flow) => (flow.host === null ? "" : GUESS),
    sort: (flow) => flow.host ?? flow.remote,
  },
  {
    label: "Kind",
    show: (flow) =>
      `${flow.proto === "icmp" ? "ping" : flow.proto.toUpperCase()} ${flow.direction === "in" ? "in" : "out"}`,
    sort: (flow) => flow.proto,
  },
  {
    label: "State",
    show: (flow) => stateWords(flow.state)[0] || "—",
    title: (flow) => (flow.state === "" ? "" : `${flow.state}: ${stateWords(flow.state)[1]}`),
    sort: (flow) => flow.state,
  },
  {
    label: "Rate",
    number: true,
    show: (flow) => {
      const both = document.createElement("span");
      both.append(sparkline(flow.rates), human(flow.rate, "bit/s"));
      return both;
    },
    sort: (flow) => flow.rate,
  },
  { label: "From guest", number: true, show: (flow) => human(flow.bytesUp, "B"), sort: (flow) => flow.bytesUp },
  { label: "To guest", number: true, show: (flow) => human(flow.bytesDown, "B"), sort: (flow) => flow.bytesDown },
  {
    label: "Round trip",
    number: true,
    show: (flow) => (flow.rtt >= 0 ? millis(flow.rtt) : "—"),
    title: () => ROUND_TRIP,
    sort: (flow) => flow.rtt ?? -1,
  },
  {
    label: "Sent again",
    number: true,
    show: (flow) => (flow.proto === "tcp" ? String(flow.retransmissions) : "—"),
    title: () => AGAIN,
    sort: (flow) => flow.retransmissions ?? 0,
  },
];

/** Adds the words of the flows' table, with their meanings, to `list`. */
export function explainFlows(list) {
  for (const [word, meaning] of [...STATE_WORDS, ...WORDS]) list.append(element("dt", word), element("dd", meaning));
}

/** Takes a new answer of the API about flows and leases. */
export function newFlows(list, leases) {
  names = new Map(leases.filter(({ hostname }) => hostname !== null).map(({ ip, hostname }) => [ip, hostname]));
  const now = performance.now();
  const before = known;
  known = new Map();
  flows = [];
  for (const flow of together(list)) {
    const key = `${flow.proto} ${flow.guest} ${flow.remote} ${flow.direction}`;
    const bytes = flow.bytesUp + flow.bytesDown;
    const last = before.get(key);
    const rate = last === undefined || bytes < last.bytes ? 0 : ((bytes - last.bytes) * 8000) / (now - last.at);
    const rates = [...(last?.rates ?? [0]), rate].slice(-RATES);
    known.set(key, { bytes, at: now, rates });
    flows.push({ ...flow, rate, rates });
  }
}

/**
 * Joins pings. Each ping has its own identifier and so is a flow; those from one guest to one far end become one row.
 */
function together(list) {
  const pings = new Map();
  const others = [];
  for (const flow of list) {
    if (flow.proto !== "icmp") {
      others.push(flow);
      continue;
    }
    const key = `${flow.guest} ${flow.remote} ${flow.direction}`;
    const sum = pings.get(key);
    if (sum === undefined) pings.set(key, { ...flow, count: 1 });
    else {
      sum.count++;
      sum.bytesUp += flow.bytesUp;
      sum.bytesDown += flow.bytesDown;
    }
  }
  return [...others, ...pings.values()];
}

export function showFlows(wanted, table, count, empty) {
  const text = wanted.toLowerCase();
  const shown = flows.filter((flow) =>
    `${Object.values(flow).join(" ")} ${guestName(flow) ?? ""} ${stateWords(flow.state)[0]}`
      .toLowerCase()
      .includes(text),
  );
  const key = COLUMNS.find(({ label }) => label === sorting.column).sort;
  shown.sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    const order = typeof x === "number" ? x - y : String(x).localeCompare(String(y), undefined, { numeric: true });
    return sorting.down ? -order : order;
  });
  const rest = shown.length > SHOWN ? `, the first ${SHOWN} shown` : "";
  count.textContent = flows.length === 0 ? "" : `${shown.length} of ${flows.length}${rest}`;
  empty.textContent = flows.length === 0 ? "No guest has a connection open." : "None of them has these words.";
  fillTable(table, COLUMNS, shown.slice(0, SHOWN), {
    empty,
    sorting: {
      ...sorting,
      choose: (label) => {
        sorting.down = sorting.column === label ? !sorting.down : true;
        sorting.column = label;
        showFlows(wanted, table, count, empty);
      },
    },
  });
}

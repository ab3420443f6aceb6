/** The packet list, and recordings as files to download. */
import { ask, network, own, token } from "./api.js";
import { element } from "./table.js";
import { human } from "./words.js";

const MAX_PACKETS = 500;
const MAX_RECORDING = 64e6;
const $ = (id) => document.getElementById(id);
const filter = () => $("packet-filter").value.trim();
const note = (text) => {
  $("packet-note").textContent = text;
};

let packets = null;
export const watching = () => packets !== null;

export function watchPackets(on) {
  packets?.close();
  packets = null;
  $("watch-button").setAttribute("aria-pressed", String(on));
  note("");
  if (!on) return;
  const query = new URLSearchParams({ token: token.value ?? "" });
  if (filter() !== "") query.set("filter", filter());
  const mine = new EventSource(`${own("packets")}?${query}`);
  packets = mine;
  mine.addEventListener("open", () => note(""));
  mine.addEventListener("packet", ({ data }) => addPacket(JSON.parse(data)));
  mine.addEventListener("skipped", ({ data }) =>
    note(`${JSON.parse(data).count} more in this second than can be shown`),
  );
  mine.addEventListener("error", () => {
    // The browser connects again by itself, unless the server has refused.
    if (mine.readyState === EventSource.CONNECTING)
      return note("interrupted; the list goes on when tslirp answers again");
    watchPackets(false);
    void sayWhy();
  });
}

/** Finds out why the stream was refused, since a stream of events does not tell. */
async function sayWhy() {
  const asking = new AbortController();
  try {
    await ask(own(`packets?${new URLSearchParams({ filter: filter() })}`), { signal: asking.signal });
    note("the list has ended");
  } catch (error) {
    note(error.message);
  }
  asking.abort();
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
  const query = filter() === "" ? "" : `?${new URLSearchParams({ filter: filter() })}`;
  const chunks = [];
  let size = 0;
  // The user may choose another network meanwhile.
  const from = network.base;
  try {
    const { body } = await ask(`${from}/capture${query}`, { signal: recording.signal });
    note(`recording; it ends by itself at ${human(MAX_RECORDING, "B")}`);
    for await (const chunk of body) {
      chunks.push(chunk);
      size += chunk.length;
      note(`recorded ${human(size, "B")} of at most ${human(MAX_RECORDING, "B")}`);
      if (size > MAX_RECORDING) recording.abort();
    }
    note(`the recording has ended: ${human(size, "B")}`);
  } catch (error) {
    if (size > MAX_RECORDING) note(`the recording is full: ${human(size, "B")}`);
    else if (error.name === "AbortError") note(`recorded ${human(size, "B")}`);
    else note(size === 0 ? error.message : `the recording ended early, at ${human(size, "B")}: tslirp does not answer`);
  }
  recording = null;
  $("record-button").setAttribute("aria-pressed", "false");
  $("record-button").textContent = "Record";
  const link = $("download");
  URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(new Blob(chunks, { type: "application/x-pcapng" }));
  link.hidden = chunks.length === 0;
});

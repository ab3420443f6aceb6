/**
 * Prometheus metrics of one network (https://prometheus.io/docs/practices/naming/): counters that the network keeps
 * anyway, read when somebody asks, and histograms made from its events.
 */
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import { dnsCodeName } from "../control/dns-words.ts";
import type { NetworkEvents } from "../embed/network-events.ts";
import type { Network } from "../network.ts";
import { collectProcessMetrics } from "./process-metrics.ts";

/** How many rules have a counter of their own, since the number of series has to be limited. */
const MOST_RULES = 100;

/** A counter whose value is kept elsewhere. */
function total(registers: Registry[], name: string, help: string, read: () => number): void {
  new Counter({
    name,
    help,
    registers,
    collect() {
      this.reset();
      this.inc(read());
    },
  });
}

function level(registers: Registry[], name: string, help: string, read: () => number): void {
  new Gauge({
    name,
    help,
    registers,
    collect() {
      this.set(read());
    },
  });
}

export class Metrics {
  readonly registry: Registry = new Registry();
  readonly #network: Network;
  readonly #onOpen: (flow: NetworkEvents["flowOpen"][0]) => void;
  readonly #onClose: (flow: NetworkEvents["flowClose"][0]) => void;
  readonly #onDns: (query: NetworkEvents["dns"][0]) => void;
  readonly #onRefused: (refusal: NetworkEvents["flowRefused"][0]) => void;

  /**
   * `process`: includes Node's own metrics (event-loop lag, memory, CPU), which are the process's, not this network's.
   */
  constructor(network: Network, options: { readonly process: boolean }) {
    this.#network = network;
    const registers = [this.registry];
    if (options.process) collectProcessMetrics(this.registry);
    total(registers, "tslirp_frames_received_total", "Frames from guests.", () => network.stats().framesIn);
    total(registers, "tslirp_received_bytes_total", "Bytes of frames from guests.", () => network.stats().bytesIn);
    level(
      registers,
      "tslirp_send_buffer_bytes",
      "Bytes sent to guests or waiting, not yet acknowledged.",
      () => network.stats().sendBytes,
    );
    level(
      registers,
      "tslirp_receive_buffer_bytes",
      "Bytes from guests that hosts have not taken yet.",
      () => network.stats().receiveBytes,
    );
    level(
      registers,
      "tslirp_out_of_order_bytes",
      "Bytes from guests that came before their turn.",
      () => network.stats().outOfOrderBytes,
    );
    level(registers, "tslirp_timers", "Deadlines that are set.", () => network.stats().timers);
    level(registers, "tslirp_leases", "Addresses bound by DHCP.", () => network.leases().length);
    level(registers, "tslirp_forwards", "Host ports that lead into guests.", () => network.forwards().length);
    new Gauge({
      name: "tslirp_flows",
      help: "Connections and mappings that exist.",
      labelNames: ["proto"],
      registers,
      collect() {
        const { tcpFlows, udpFlows } = network.stats();
        this.set({ proto: "tcp" }, tcpFlows);
        this.set({ proto: "udp" }, udpFlows);
      },
    });
    new Counter({
      name: "tslirp_drops_total",
      help: "Packets and connections dropped, by reason.",
      labelNames: ["reason"],
      registers,
      collect() {
        this.reset();
        for (const [reason, count] of Object.entries(network.stats().drops)) this.inc({ reason }, count);
      },
    });
    const opened = new Counter({
      name: "tslirp_flows_opened_total",
      help: "Connections and mappings begun.",
      labelNames: ["proto", "direction"],
      registers,
    });
    const closed = new Counter({
      name: "tslirp_flows_closed_total",
      help: "Connections and mappings ended.",
      labelNames: ["proto"],
      registers,
    });
    const bytes = new Counter({
      name: "tslirp_flow_bytes_total",
      help: "Payload of flows that have ended: up from guests, down to them.",
      labelNames: ["direction"],
      registers,
    });
    const retransmissions = new Counter({
      name: "tslirp_tcp_retransmissions_total",
      help: "Segments sent to guests again, of connections that have ended.",
      registers,
    });
    const rtt = new Histogram({
      name: "tslirp_tcp_rtt_seconds",
      help: "Smoothed round trip to the guest at a connection's end.",
      buckets: [1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5],
      registers,
    });
    const latency = new Histogram({
      name: "tslirp_dns_latency_seconds",
      help: "From a guest's query to its answer.",
      labelNames: ["rcode"],
      buckets: [5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
      registers,
    });
    const refused = new Counter({
      name: "tslirp_refused_total",
      help: "Flows refused by each rule, or by the default; rules beyond the first hundred count together.",
      labelNames: ["rule"],
      registers,
    });
    const rules = new Set<string>();
    this.#onRefused = ({ rule }) => {
      if (rules.size < MOST_RULES) rules.add(rule);
      refused.inc({ rule: rules.has(rule) ? rule : "others" });
    };
    this.#onOpen = ({ proto, direction }) => opened.inc({ proto, direction });
    this.#onClose = (flow) => {
      closed.inc({ proto: flow.proto });
      bytes.inc({ direction: "up" }, flow.bytesUp);
      bytes.inc({ direction: "down" }, flow.bytesDown);
      if (flow.retransmissions !== undefined) retransmissions.inc(flow.retransmissions);
      if (flow.rtt !== undefined && flow.rtt >= 0) rtt.observe(flow.rtt / 1000);
    };
    this.#onDns = ({ rcode, millis }) => latency.observe({ rcode: dnsCodeName(rcode) }, millis / 1000);
    network.on("flowOpen", this.#onOpen).on("flowClose", this.#onClose).on("dns", this.#onDns);
    network.on("flowRefused", this.#onRefused);
  }

  close(): void {
    this.#network.off("flowOpen", this.#onOpen).off("flowClose", this.#onClose).off("dns", this.#onDns);
    this.#network.off("flowRefused", this.#onRefused);
    this.registry.clear();
  }
}

/**
 * Prometheus metrics where each guest has a network of its own: sums since the start, and figures of the guests that
 * are there.
 */
import { Counter, Gauge, Registry } from "prom-client";
import type { GuestNetworks } from "../guest-networks.ts";
import { collectProcessMetrics } from "./process-metrics.ts";

/** `process`: includes Node's own metrics (event-loop lag, memory, CPU). */
export function guestMetrics(networks: GuestNetworks, process: boolean): Registry {
  const registry = new Registry();
  const registers = [registry];
  if (process) collectProcessMetrics(registry);
  const total = (name: string, help: string, read: () => number): void => {
    new Counter({
      ...{ name, help, registers },
      collect() {
        this.reset();
        this.inc(read());
      },
    });
  };
  total("tslirp_guests_total", "Guests that have come.", () => networks.totals().guests);
  total("tslirp_guests_refused_total", "Guests that were sent away.", () => networks.totals().refused);
  total("tslirp_guests_ended_total", "Guests that were sent away since they held most when all held too much.", () => {
    return networks.totals().ended;
  });
  new Gauge({
    ...{ name: "tslirp_held_bytes", help: "Bytes of connections that all guests hold.", registers },
    collect() {
      this.set(networks.heldBytes);
    },
  });
  total("tslirp_received_bytes_total", "Bytes of frames from guests.", () => networks.totals().bytesIn);
  total("tslirp_sent_bytes_total", "Bytes of frames to guests.", () => networks.totals().bytesOut);
  new Gauge({
    ...{ name: "tslirp_guests", help: "Guests that are there.", registers },
    collect() {
      this.set(networks.list().length);
    },
  });
  new Counter({
    ...{
      name: "tslirp_drops_total",
      help: "Packets and connections dropped, by reason.",
      labelNames: ["reason"],
      registers,
    },
    collect() {
      this.reset();
      for (const [reason, count] of Object.entries(networks.totals().drops)) this.inc({ reason }, count);
    },
  });
  new Counter({
    ...{ name: "tslirp_guest_bytes_total", help: "Bytes of frames from a guest (in) and to it (out).", registers },
    labelNames: ["guest", "direction"],
    collect() {
      this.reset();
      for (const { id, network } of networks.list()) {
        const { bytesIn, bytesOut } = network.stats();
        this.inc({ guest: id, direction: "in" }, bytesIn);
        this.inc({ guest: id, direction: "out" }, bytesOut);
      }
    },
  });
  new Gauge({
    ...{ name: "tslirp_guest_flows", help: "Connections and mappings of a guest.", registers },
    labelNames: ["guest", "proto"],
    collect() {
      this.reset();
      for (const { id, network } of networks.list()) {
        const { tcpFlows, udpFlows } = network.stats();
        this.set({ guest: id, proto: "tcp" }, tcpFlows);
        this.set({ guest: id, proto: "udp" }, udpFlows);
      }
    },
  });
  return registry;
}

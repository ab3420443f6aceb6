/**
 * Wraps the parts of this process that act on the network, so that a recorder sees them: verdicts, ends of flows within
 * the process, calls of the user.
 */
import type { Endpoint } from "../core/address.ts";
import type { FlowGate, GatedFlow, Ruling, Taker } from "../core/gate.ts";
import type { AcceptedTcp } from "../core/host-net.ts";
import type { TcpService, UdpService } from "../nat/services.ts";
import type { Local } from "../stack/local-services.ts";
import { RecordedTcp, recordedClient, tcpEvents } from "./host.ts";
import type { Recorder } from "./recorder.ts";

/** A verdict in the form that a recording has: without the taker of a flow. */
export type RecordedRuling = Exclude<Ruling, { action: "take" }> | { readonly action: "take" };

export function recordedGate(recorder: Recorder, inner: FlowGate): FlowGate {
  return {
    get active() {
      return inner.active;
    },
    judge: (flow: GatedFlow, done: (ruling: Ruling) => void) => {
      const id = recorder.id();
      recorder.write("ask", id, flow);
      inner.judge(flow, (ruling) => {
        const taken = ruling.action === "take";
        recorder.told("verdict", id, taken ? { action: "take" } : ruling);
        done(taken ? { action: "take", taker: recordedTaker(recorder, id, ruling.taker) } : ruling);
      });
    },
  };
}

function recordedTaker(recorder: Recorder, flow: number, inner: Taker): Taker {
  return {
    stream: (events) => {
      const id = recorder.id();
      recorder.write("taken", id, flow);
      return new RecordedTcp(
        recorder,
        id,
        recorder.call(() => inner.stream(tcpEvents(recorder, id, events))),
      );
    },
    datagrams: (send, ended) => {
      const id = recorder.id();
      recorder.write("taken", id, flow);
      const end = inner.datagrams(
        (bytes) => {
          recorder.told("takenSend", id, bytes);
          send(bytes);
        },
        () => {
          recorder.told("takenEnd", id);
          ended();
        },
      );
      return {
        receive: (bytes, at, len) => {
          recorder.write("takenReceive", id, len, recorder.crc(bytes, at, len));
          recorder.call(() => end.receive(bytes, at, len));
        },
        close: () => {
          recorder.write("takenClose", id);
          recorder.call(() => end.close());
        },
      };
    },
  };
}

export class RecordedLocal implements Local {
  readonly #recorder: Recorder;
  readonly #inner: Local;

  constructor(recorder: Recorder, inner: Local) {
    this.#recorder = recorder;
    this.#inner = inner;
  }

  isGuest(host: string): boolean {
    return this.#recorder.aside(() => this.#inner.isGuest(host));
  }

  dial(guest: Endpoint, client: AcceptedTcp): Endpoint | null {
    this.#recorder.told("dial", 0, guest, client.remote);
    return this.#inner.dial(guest, recordedClient(this.#recorder, client));
  }

  serveTcp(at: Endpoint, service: TcpService): (() => void) | null {
    const recorder = this.#recorder;
    const id = recorder.id();
    recorder.told("serveTcp", id, at);
    return this.#ending(
      id,
      this.#inner.serveTcp(at, (events, guest) => {
        const socket = recorder.id();
        recorder.write("served", id, socket, guest);
        return new RecordedTcp(
          recorder,
          socket,
          recorder.call(() => service(tcpEvents(recorder, socket, events), guest)),
        );
      }),
    );
  }

  serveUdp(at: Endpoint, service: UdpService): (() => void) | null {
    const id = this.#recorder.id();
    this.#recorder.told("serveUdp", id, at);
    return this.#ending(
      id,
      this.#inner.serveUdp(at, (bytes, from, len, guest) => {
        this.#recorder.write("servedDatagram", id, len, this.#recorder.crc(bytes, from, len), guest);
        this.#recorder.call(() => service(bytes, from, len, guest));
      }),
    );
  }

  sendUdp(from: Endpoint, guest: Endpoint, bytes: Uint8Array): void {
    this.#recorder.told("sendUdp", from, guest, bytes);
    this.#inner.sendUdp(from, guest, bytes);
  }

  #ending(id: number, end: (() => void) | null): (() => void) | null {
    if (end === null) return null;
    return () => {
      this.#recorder.told("unserve", id);
      end();
    };
  }
}

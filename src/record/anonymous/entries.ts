/** Replaces addresses and names in a recording's entries and header, and leaves out payload. */
import type { StackConfig } from "../../core/config.ts";
import { COMPLETE } from "../../core/link.ts";
import type { SavedLan } from "../../embed/lan.ts";
import { ENTRIES, type Entry, type EntryName, type Header, type Value } from "../format.ts";
import { AS_FOUND, headersLength, isSummed, UNKNOWN } from "../frames.ts";
import { changeFrame } from "./guest-frames.ts";
import { changeDns } from "./messages.ts";
import type { Others } from "./others.ts";

const NOTHING = new Uint8Array(0);
/** Fields of a configuration that describe the network and identify nobody. */
const PLAIN: ReadonlySet<string> = new Set(["limits", "proto", "action", "how", "reason", "family", "state", "until"]);

export class AnonymousEntries {
  readonly #others: Others;
  /**
   * The numbers of questions about DNS queries, and of such queries that were taken over: these are messages to change,
   * not payload to leave out.
   */
  readonly #queries: Set<number> = new Set();

  constructor(others: Others) {
    this.#others = others;
  }

  header(header: Header): Header {
    const { config, rules } = header;
    return {
      ...header,
      payload: false,
      anonymous: true,
      config: this.#value(config) as StackConfig,
      rules: rules.map((line) => this.#others.names.rule(line)),
    };
  }

  entry(entry: Entry): Entry {
    const { name, values } = entry;
    return { name, values: this.#values(name, values) };
  }

  #values(name: EntryName, values: readonly Value[]): readonly Value[] {
    const { names } = this.#others;
    switch (name) {
      case "frame":
        return this.#frame(values as [number, number, number, number, Uint8Array]);
      case "sent": {
        // The network will write its own frame. How much of the frame is compared follows from its headers.
        const [link, length, undone] = values;
        return [link, length, undone, NOTHING, 0];
      }
      case "data":
        return [values[0], values[1], NOTHING];
      case "datagram":
        return [values[0], this.#value(values[1]), values[2], NOTHING];
      case "fileData":
        return [values[0], values[1], NOTHING];
      case "pong":
        return [values[0], values[1], this.#value(values[2]), new Uint8Array((values[3] as Uint8Array).length)];
      case "query":
        return [values[0], values[1], this.#value(values[2]), this.#dns(values[3] as Uint8Array)];
      case "answer":
        return [values[0], values[1], this.#dns(values[2] as Uint8Array)];
      case "ask":
        if ((values[1] as { proto: string }).proto === "dns") this.#queries.add(values[0] as number);
        return [values[0], this.#value(values[1])];
      case "taken":
        if (this.#queries.has(values[1] as number)) this.#queries.add(values[0] as number);
        return values;
      case "takenSend": {
        const bytes = values[1] as Uint8Array;
        const isAnswer = this.#queries.has(values[0] as number);
        return [values[0], isAnswer ? this.#dns(bytes) : new Uint8Array(bytes.length)];
      }
      case "sendUdp":
        return [this.#value(values[0]), this.#value(values[1]), new Uint8Array((values[2] as Uint8Array).length)];
      case "rules":
        return [(values[0] as string[]).map((line) => names.rule(line))];
      case "guests":
        return [this.#guests(values[0] as SavedLan)];
      case "listenFailed":
      case "bindFailed": {
        const { code } = values[1] as { readonly code?: string };
        return [values[0], { message: code ?? "failed", ...(code === undefined ? {} : { code }) }];
      }
      case "drop":
        return values;
      default: {
        const kinds = Object.values(ENTRIES[name].fields);
        return values.map((value, i) => {
          if (kinds[i] === "text") return names.text(value as string);
          return kinds[i] === "json" ? this.#value(value) : value;
        });
      }
    }
  }

  #frame([link, undone, blank, sealed, bytes]: [number, number, number, number, Uint8Array]): readonly Value[] {
    const frame = bytes.slice();
    headersLength(frame, 0, frame.length);
    const summed = isSummed(undone !== COMPLETE);
    const kept = changeFrame(frame, blank === 0 && undone === COMPLETE, this.#others);
    if (blank > 0) return [link, undone, bytes.length + blank - kept, sealed, frame.subarray(0, kept)];
    const found = kept < bytes.length && summed ? AS_FOUND : UNKNOWN;
    return [link, undone, bytes.length - kept, found, frame.subarray(0, kept)];
  }

  #dns(bytes: Uint8Array): Uint8Array {
    const message = bytes.slice();
    changeDns(message, 0, message.length, this.#others);
    return message;
  }

  /** Replaces texts in any JSON value, except for field names and values that describe the network. */
  #value(value: unknown, field = ""): unknown {
    if (PLAIN.has(field)) return value;
    if (typeof value === "string") return this.#others.names.text(value);
    if (Array.isArray(value)) return value.map((each) => this.#value(each));
    if (value instanceof Map) return new Map([...value].map(([key, each]) => [this.#value(key), this.#value(each)]));
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, this.#value(each, key)]));
  }

  #guests(known: SavedLan): unknown {
    const others = this.#others;
    const { addresses } = others;
    const identified = <T>(records: readonly T[]): unknown[] =>
      records.map((record) => {
        const changed = { ...(this.#value(record) as Record<string, unknown>) };
        for (const [field, value] of Object.entries(record as Record<string, unknown>))
          if (value !== null && (field === "id" || field === "formerId"))
            changed[field] = others.hex("clientId", value as string);
          else if (value !== null && field === "duid") changed[field] = others.hex("duid", value as string);
          else if (field === "iaid") changed[field] = others.word(value as number);
          else if (typeof value === "string" && /^-?Infinity$/.test(value)) changed[field] = value;
        return changed;
      });
    const { leases, leases6, names, macs, ...rest } = known;
    return {
      ...(this.#value(rest) as object),
      leases: identified(leases),
      leases6: identified(leases6),
      names: names.map(([guest, ...targets]) => [addresses.macNumber(guest), ...(this.#value(targets) as unknown[])]),
      macs: macs.map(([mac, cable, heard]) => [addresses.macNumber(mac), this.#value(cable), heard]),
    };
  }
}

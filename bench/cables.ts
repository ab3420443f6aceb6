/**
 * A WebSocket's cable beside a UNIX socket's: real sockets within this process, whose other ends write and read what has been
 * prepared, so that both ends of both are counted alike.
 */
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { listenAt } from "../src/attach/attach.ts";
import type { Attachment } from "../src/attach/attachment.ts";
import { SlabPool } from "../src/attach/slab.ts";
import { NO_BROWSERS } from "../src/attach/ws-access.ts";
import { DEFAULT_LIMITS } from "../src/core/limits.ts";
import type { Link } from "../src/core/link.ts";
import { NO_TAP } from "../src/core/tap.ts";
import { NO_TRACE } from "../src/core/trace.ts";
import { type Case, same } from "./case.ts";

const KINDS = ["unix", "ws"] as const;
type Kind = (typeof KINDS)[number];

const BATCH = 64;
const FRAME = 1_514;
const SMALL = 64;
/** Rounds that do not count: a program on Node compiles what it does most while it runs. */
const WARM_UP = 300;
/** RFC 6455 section 5.3: what comes from a client is masked. */
const MASK = [0x12, 0x34, 0x56, 0x78];

export function cableCases(): Case[] {
  return KINDS.flatMap((kind) => [fromGuest(kind), toGuest(kind), there(kind)]);
}

/** What a guest sends for one frame. */
function encoded(kind: Kind, len: number): Buffer {
  const head = Buffer.alloc(4);
  if (kind === "unix") {
    head.writeUInt32BE(len);
    return Buffer.concat([head, Buffer.alloc(len, 0x78)]);
  }
  head[0] = 0x82;
  head[1] = 0x80 | Math.min(len, 126);
  head.writeUInt16BE(len, 2);
  const frame = Buffer.alloc(len, 0x78).map((byte, i) => byte ^ MASK[i & 3]!);
  return Buffer.concat([head.subarray(0, len < 126 ? 2 : 4), Buffer.from(MASK), frame]);
}

/** Bytes before a frame to the guest. */
function prefix(kind: Kind, len: number): number {
  return kind === "ws" && len < 126 ? 2 : 4;
}

class Rig {
  link!: Link;
  guest!: net.Socket;
  /** Bytes of frames from the guest, and bytes to it. */
  received = 0;
  arrived = 0;
  onReceive: ((len: number) => void) | null = null;
  readonly #kind: Kind;
  readonly #folder: string = fs.mkdtempSync(path.join(os.tmpdir(), "bench-cables-"));
  #attachment: Attachment | null = null;

  constructor(kind: Kind) {
    this.#kind = kind;
  }

  /** `heard` is called whenever something has come, at either end. */
  async open(heard: () => void): Promise<void> {
    let plugIn = (_link: Link): void => {};
    const attached = new Promise<Link>((resolve) => {
      plugIn = resolve;
    });
    const env = {
      receiver: {
        attached: (link: Link) => plugIn(link),
        receive: (_link: Link, _slab: unknown, _at: number, len: number) => {
          this.received += len;
          this.onReceive?.(len);
          heard();
        },
        batchEnd: () => {},
        writable: () => {},
        detached: () => {},
      },
      ...{ pool: new SlabPool(), trace: NO_TRACE, clock: { now: () => performance.now() }, tap: NO_TAP },
      ...{ limits: DEFAULT_LIMITS, sent: { frames: 0, bytes: 0 } },
    };
    const wanted =
      this.#kind === "unix"
        ? ({ kind: "unix", path: path.join(this.#folder, "s") } as const)
        : ({ kind: "ws", host: "127.0.0.1", port: 0, path: "/" } as const);
    this.#attachment = await listenAt(wanted, env, NO_BROWSERS);
    const { address } = this.#attachment;
    this.guest =
      address?.kind === "ws" ? net.connect(address.port, address.host) : net.connect(path.join(this.#folder, "s"));
    this.guest.setNoDelay(true);
    await once(this.guest, "connect");
    if (this.#kind === "ws") {
      this.guest.write(
        "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
      );
      await once(this.guest, "data");
    }
    this.link = await attached;
    this.guest.on("data", ({ length }) => {
      this.arrived += length;
      heard();
    });
  }

  send(len: number): void {
    if (this.link.reserve(len) < 0) throw new Error("the cable is full");
    this.link.commit(len);
  }

  close(): void {
    this.guest.destroy();
    void this.#attachment!.close();
    fs.rmSync(this.#folder, { recursive: true });
  }
}

/** What is done once, and by how many bytes `counted` has grown then. */
interface Round {
  readonly name: string;
  readonly per: number;
  readonly bytes: number;
  readonly size: number;
  counted(rig: Rig): number;
  begin(rig: Rig): void;
}

function cableCase(kind: Kind, { name, per, bytes, size, counted, begin }: Round): Case {
  const rig = new Rig(kind);
  let rounds = 0;
  let done = (): void => {};
  const heard = (): void => {
    if (counted(rig) === rounds * size) done();
  };
  const round = (): Promise<void> => {
    rounds++;
    return new Promise<void>((resolve) => {
      done = resolve;
      begin(rig);
    });
  };
  return {
    ...{ suite: "cable", name: `${kind}: ${name}`, per, bytes, deferred: true },
    async prepare() {
      await rig.open(heard);
      for (let i = 0; i < WARM_UP; i++) await round();
    },
    call: round,
    check(calls) {
      same("bytes", counted(rig), (calls + WARM_UP) * size);
      rig.close();
    },
  };
}

function fromGuest(kind: Kind): Case {
  const batch = Buffer.concat(Array.from({ length: BATCH }, () => encoded(kind, FRAME)));
  return cableCase(kind, {
    name: `${BATCH} frames of ${FRAME} bytes in one write from the guest`,
    ...{ per: BATCH, bytes: FRAME, size: BATCH * FRAME },
    counted: (rig) => rig.received,
    begin: (rig) => void rig.guest.write(batch),
  });
}

function toGuest(kind: Kind): Case {
  return cableCase(kind, {
    name: `${BATCH} frames of ${FRAME} bytes in one flush to the guest`,
    ...{ per: BATCH, bytes: FRAME, size: BATCH * (FRAME + prefix(kind, FRAME)) },
    counted: (rig) => rig.arrived,
    begin(rig) {
      for (let i = 0; i < BATCH; i++) rig.send(FRAME);
      rig.link.flush();
    },
  });
}

function there(kind: Kind): Case {
  const bytes = encoded(kind, SMALL);
  return cableCase(kind, {
    name: `a frame of ${SMALL} bytes from the guest and one back, alone`,
    ...{ per: 1, bytes: 0, size: SMALL + prefix(kind, SMALL) },
    counted: (rig) => rig.arrived,
    begin(rig) {
      rig.onReceive = (len) => {
        rig.send(len);
        rig.link.flush();
      };
      rig.guest.write(bytes);
    },
  });
}

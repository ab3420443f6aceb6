/** Ends of VXLAN on this machine's loopback, whose addresses and ports nobody else has. */
import dgram from "node:dgram";
import { once } from "node:events";
import { VXLAN_HEADER, vxlanVni, vxlanWrite } from "../../src/wire/vxlan.ts";

/** `count` places, `IP:PORT`, each at an address of its own of 127.0.0.0/8. */
export async function places(count: number): Promise<string[]> {
  const found: string[] = [];
  for (let i = 0; i < count; i++) found.push(await freePlace(`127.0.0.${10 + i}`));
  return found;
}

/** Free a moment ago: `IP:PORT`. */
export async function freePlace(host: string): Promise<string> {
  const socket = dgram.createSocket(host.includes(":") ? "udp6" : "udp4");
  socket.bind(0, host);
  await once(socket, "listening");
  const { port } = socket.address();
  await new Promise<void>((resolve) => socket.close(() => resolve()));
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** Another end, in the test's hands. */
export class Vtep {
  /** `IP:PORT`. */
  readonly place: string;
  /** Inner frames that have come. */
  readonly got: Uint8Array[] = [];
  readonly vnis: number[] = [];
  readonly #socket: dgram.Socket;
  readonly #to: { host: string; port: number };
  readonly #vni: number;

  private constructor(socket: dgram.Socket, to: string, vni: number) {
    const { address, port } = socket.address();
    this.place = `${address}:${port}`;
    this.#socket = socket;
    const colon = to.lastIndexOf(":");
    this.#to = { host: to.slice(0, colon), port: Number(to.slice(colon + 1)) };
    this.#vni = vni;
    socket.on("message", (bytes) => {
      this.vnis.push(vxlanVni(bytes, 0));
      this.got.push(new Uint8Array(bytes.subarray(VXLAN_HEADER)));
    });
  }

  /** At an address of 127.0.0.0/8, any port of it; it speaks with `to`. */
  static async open(host: string, to: string, vni = 42): Promise<Vtep> {
    const socket = dgram.createSocket("udp4");
    socket.bind(0, host);
    await once(socket, "listening");
    return new Vtep(socket, to, vni);
  }

  /** Inner frames, each in a datagram of its own. */
  async send(...frames: readonly Uint8Array[]): Promise<void> {
    for (const frame of frames) {
      const datagram = new Uint8Array(VXLAN_HEADER + frame.length);
      vxlanWrite(datagram, 0, this.#vni);
      datagram.set(frame, VXLAN_HEADER);
      await this.raw(datagram);
    }
  }

  raw(datagram: Uint8Array): Promise<void> {
    return new Promise((resolve) => this.#socket.send(datagram, this.#to.port, this.#to.host, () => resolve()));
  }

  /** Resolves when `when` holds after a datagram has come. */
  async until(when: () => boolean): Promise<void> {
    while (!when()) await once(this.#socket, "message");
  }

  close(): Promise<void> {
    return new Promise((resolve) => this.#socket.close(() => resolve()));
  }
}

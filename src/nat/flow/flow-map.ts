/**
 * Flows of both families, found by guest, far end and ports. The family is the guest's, so the far end's address is
 * looked up where it stands in the packet. `ports` has the guest's port in its upper half and the far end's in its
 * lower half.
 */
import type { IpAddress } from "../../core/address.ts";
import { FlowTable, FlowTable6 } from "../../core/flow-table.ts";
import type { Random } from "../../core/random.ts";
import type { Neighbour } from "../../proto/neighbours.ts";
import { get32 } from "../../wire/bytes.ts";

export class FlowMap<T> {
  readonly #v4: FlowTable<T>;
  readonly #v6: FlowTable6<T>;

  /** The table has no cap of its own: its users limit how many flows there are. */
  constructor(random: Random) {
    this.#v4 = new FlowTable(random.u32(), random.u32());
    this.#v6 = new FlowTable6(random.u32(), random.u32());
  }

  get size(): number {
    return this.#v4.size + this.#v6.size;
  }

  /** The flow with the far end whose address stands at `at`. */
  get(guest: Neighbour, buf: Uint8Array, at: number, ports: number): T | null {
    if (guest.family === 4) return this.#v4.get(guest.key, get32(buf, at), ports);
    return this.#v6.get(guest.key, get32(buf, at), get32(buf, at + 4), get32(buf, at + 8), get32(buf, at + 12), ports);
  }

  /** Adds a flow under a key that is not in the table. */
  add(guest: Neighbour, remote: IpAddress, ports: number, flow: T): void {
    const b = remote.bytes;
    if (guest.family === 4) this.#v4.add(guest.key, remote.ip, ports, flow);
    else this.#v6.add(guest.key, get32(b, 0), get32(b, 4), get32(b, 8), get32(b, 12), ports, flow);
  }

  remove(guest: Neighbour, remote: IpAddress, ports: number): void {
    const b = remote.bytes;
    if (guest.family === 4) this.#v4.remove(guest.key, remote.ip, ports);
    else this.#v6.remove(guest.key, get32(b, 0), get32(b, 4), get32(b, 8), get32(b, 12), ports);
  }

  *[Symbol.iterator](): IterableIterator<T> {
    yield* this.#v4;
    yield* this.#v6;
  }
}

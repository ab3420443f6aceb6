/**
 * A network's knowledge about its guests, for a network that takes its place: which guest has which address, by which
 * lease, on which cable, and which names the guest has been told. The data are plain, fit for JSON, and name cables by
 * their names. Flows, fragments and searches for guests, which are under way, are not among them.
 */
import type { Link } from "../core/link.ts";
import type { SavedRecord } from "../proto/holdings.ts";
import type { SavedNames } from "../proto/names.ts";
import type { SavedNeighbour } from "../proto/neighbours.ts";
import type { Composed } from "./compose.ts";

export interface KnownGuests {
  readonly leases: readonly SavedRecord[];
  readonly leases6: readonly SavedRecord[];
  readonly neighbours: readonly SavedNeighbour[];
  /** The owners of guests' names. */
  readonly hostnames: readonly (readonly [name: string, mac: string])[];
  readonly names: SavedNames;
}

type Parts = Pick<Composed, "links" | "dhcp" | "dhcp6" | "neighbours" | "guestNames" | "names">;

const nameOf = (cable: object): string => (cable as Link).name;

export function saveGuests({ dhcp, dhcp6, neighbours, guestNames, names }: Parts): KnownGuests {
  return {
    leases: dhcp.save(nameOf),
    leases6: dhcp6.save(nameOf),
    neighbours: neighbours.save(),
    hostnames: guestNames.save(),
    names: names.save(),
  };
}

export function restoreGuests({ links, dhcp, dhcp6, neighbours, guestNames, names }: Parts, known: KnownGuests): void {
  const byName = new Map([...links].map((link) => [link.name, link]));
  const linkOf = (name: string): Link | null => byName.get(name) ?? null;
  dhcp.restore(known.leases, linkOf);
  dhcp6.restore(known.leases6, linkOf);
  neighbours.restore(known.neighbours, linkOf);
  guestNames.restore(known.hostnames);
  names.restore(known.names);
}

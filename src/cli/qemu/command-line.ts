/**
 * A QEMU command line, and the same one with tslirp in libslirp's place.
 *
 * Three options give a guest a user network. Each becomes `-netdev stream` in a different way:
 *
 * - `-netdev user,id=ID,…` keeps its place and its id, so the card that refers to it stays as it is.
 * - `-nic user,…` is a back-end and a card in one. No QEMU takes `stream` behind `-nic`, so the option is split as QEMU
 *   splits it inside: into a `-netdev`, and a `-net nic,netdev=ID`, which fills the same table of on-board cards as
 *   `-nic` does (a `-device` would not). QEMU fills that table from all `-nic` first and from `-net nic` after, so the
 *   other `-nic` options are split likewise and keep their order, which decides about slots and MAC addresses.
 * - `-net user` is on hub 0 with every `-net nic`. One card and one back-end are joined directly: to the guest that is
 *   the same, and it avoids the hub's trouble with large frames. More than two stay on the hub, as hubports.
 *
 * Without any option about networks, QEMU gives a machine its default card (`pc`: e1000, `q35`: e1000e, `isapc`:
 * ne2k_isa) and a user network. `-net nic,netdev=ID` leaves the choice of the card to the machine in the same way.
 */
import { ConfigError } from "../../control/errors.ts";
import { jsonPairs, type Netdev, parseNetdev, readUserOptions } from "../../control/netdev.ts";
import { joinOptions, lastValue, type OptionPair, splitOptions, takeType } from "../../control/qemu-options.ts";
import { BARE, VALUED } from "./options.ts";

/** A user network of the command line, which tslirp serves. */
export interface UserNetwork {
  /** The option that asks for the network; "" if none does, and it is QEMU's default. */
  readonly option: "-netdev" | "-nic" | "-net" | "";
  readonly id: string;
  readonly netdev: Netdev;
  /** Whether the cable ends in a QEMU hub. */
  readonly hub: boolean;
}

export interface QemuCommand {
  readonly networks: readonly UserNetwork[];
  /** QEMU's arguments. `netdev(network)` returns the value of the network's `-netdev`. */
  arguments(netdev: (network: UserNetwork) => string): string[];
}

interface NetOption {
  readonly option: "-netdev" | "-nic" | "-net";
  readonly text: string;
  readonly type: string;
  readonly rest: readonly OptionPair[];
}
/** The value of an option. It is not read as an option, even if it looks like one (`-append -nodefaults`). */
interface Value {
  readonly value: string;
}
type Word = string | Value | NetOption;

/** An argument of the new command line, or the place of a user network's `-netdev`. */
type Part = string | { readonly cable: UserNetwork };

/** Reads QEMU's arguments (without the program). Throws `ConfigError`, whose field is `-nic hostfwd` or the like. */
export function readQemuCommand(program: string, args: readonly string[]): QemuCommand {
  const words = readWords(args);
  const plan = new Plan(words.filter(isNetOption));
  const parts = words.flatMap((word) => (isNetOption(word) ? plan.parts(word) : [textOf(word)]));
  if (hasDefaultNetwork(program, words)) {
    const network = plan.add("", { id: null, options: {} }, false);
    parts.push("-net", `nic,netdev=${network.id}`, "-netdev", { cable: network });
  }
  return {
    networks: plan.networks,
    arguments: (netdev) => parts.map((part) => (typeof part === "string" ? part : netdev(part.cable))),
  };
}

function readWords(args: readonly string[]): Word[] {
  const words: Word[] = [];
  for (let i = 0; i < args.length; i++) {
    const word = args[i]!;
    // QEMU takes one hyphen or two.
    const option = word.replace(/^--/, "-");
    if (option === "-daemonize") {
      throw new ConfigError("qemu", word, "expected a QEMU that stays in the foreground: tslirp ends with it");
    }
    const text = args[i + 1];
    if (text !== undefined && (option === "-netdev" || option === "-nic" || option === "-net")) {
      words.push(readNetOption(option, text));
      i++;
      continue;
    }
    words.push(word);
    if (text === undefined || !/^-./.test(option) || BARE.has(option)) continue;
    // If an option is unknown, a word behind it that looks like an option is read as one.
    if (text.startsWith("-") && !VALUED.has(option)) continue;
    words.push({ value: text });
    i++;
  }
  return words;
}

function isNetOption(word: Word): word is NetOption {
  return typeof word !== "string" && "option" in word;
}

function textOf(word: string | Value): string {
  return typeof word === "string" ? word : word.value;
}

function readNetOption(option: NetOption["option"], text: string): NetOption {
  if (option === "-netdev" && text.startsWith("{")) {
    try {
      const { type, rest } = takeType(jsonPairs(text));
      return { option, text, type: type ?? "", rest };
    } catch {
      // Only faults of user networks are ours to report.
      return { option, text, type: /"type"\s*:\s*"user"/.test(text) ? "user" : "", rest: [] };
    }
  }
  const { type, rest } = takeType(splitOptions(text));
  // `-nic model=virtio` is a user network.
  return { option, text, type: type ?? (option === "-nic" ? "user" : ""), rest };
}

/** Decides what each network option becomes, knowing all of them. */
class Plan {
  readonly networks: UserNetwork[] = [];
  readonly #options: readonly NetOption[];
  readonly #taken: ReadonlySet<string | null>;
  readonly #splitsNics: boolean;
  /** The card on hub 0, if there is only one, with one user network and nothing else. */
  readonly #onlyCard: NetOption | null;
  readonly #onlyCardId: string;
  readonly #ids: Map<NetOption, string> = new Map();
  #cardsDone = false;

  constructor(options: readonly NetOption[]) {
    this.#options = options;
    this.#taken = new Set(options.map(({ rest }) => lastValue(rest, "id")));
    this.#splitsNics = options.some(({ option, type }) => option === "-nic" && type === "user");
    const onHub = options.filter(
      ({ option, type, rest }) =>
        (option === "-net" && type !== "none" && !(type === "nic" && lastValue(rest, "netdev") !== null)) ||
        (option === "-netdev" && type === "hubport" && Number(lastValue(rest, "hubid")) === 0),
    );
    const cards = onHub.filter(({ type }) => type === "nic");
    const user = onHub.find(({ option, type }) => option === "-net" && type === "user");
    this.#onlyCard = onHub.length === 2 && cards.length === 1 && user !== undefined ? cards[0]! : null;
    this.#onlyCardId = user === undefined ? "" : this.#idOf(user);
  }

  add(option: UserNetwork["option"], netdev: Netdev, hub: boolean, id: string = this.#freshId()): UserNetwork {
    const network = { option, id, netdev, hub };
    this.networks.push(network);
    return network;
  }

  parts(word: NetOption): Part[] {
    const { option, text, type } = word;
    if (option === "-netdev") return type === "user" ? ["-netdev", { cable: this.#netdev(word) }] : [option, text];
    const before = this.#cards();
    if (option === "-nic") return [...before, ...this.#nic(word)];
    if (type === "user") return [...before, ...this.#net(word)];
    const direct = word === this.#onlyCard ? `,netdev=${this.#onlyCardId}` : "";
    return [...before, option, text + direct];
  }

  #netdev(word: NetOption): UserNetwork {
    const netdev = word.text.startsWith("{")
      ? readUser(word, () => parseNetdev(word.text))
      : readUser(word, () => readUserOptions(word.rest));
    if (netdev.id === null) throw new ConfigError("-netdev", word.text, "expected an id: user,id=n0,…");
    const hub = this.#options.some(
      ({ option, type, rest }) => option === "-netdev" && type === "hubport" && lastValue(rest, "netdev") === netdev.id,
    );
    return this.add("-netdev", netdev, hub, netdev.id);
  }

  /** The back-end of a `-nic`. Its card is among `#cards`. */
  #nic(word: NetOption): Part[] {
    if (!this.#splitsNics || word.type === "none") return ["-nic", word.text];
    const id = this.#idOf(word);
    const rest = word.rest.filter(({ key }) => key !== "model" && key !== "mac");
    if (word.type === "user")
      return [
        "-netdev",
        {
          cable: this.add(
            "-nic",
            readUser(word, () => readUserOptions(rest)),
            false,
            id,
          ),
        },
      ];
    const pairs = [...rest.filter(({ key }) => key !== "id"), { key: "id", value: id }];
    return ["-netdev", joinOptions([{ key: word.type, value: null }, ...pairs])];
  }

  #net(word: NetOption): Part[] {
    const id = this.#idOf(word);
    const direct = this.#onlyCard !== null;
    const cable = this.add(
      "-net",
      readUser(word, () => readUserOptions(word.rest)),
      !direct,
      id,
    );
    const port: Part[] = direct ? [] : ["-netdev", `hubport,id=${id}-hub,hubid=0,netdev=${id}`];
    return ["-netdev", { cable }, ...port];
  }

  /** The cards of all `-nic`, put once before the first network option that is not `-netdev`. */
  #cards(): Part[] {
    if (!this.#splitsNics || this.#cardsDone) return [];
    this.#cardsDone = true;
    return this.#options
      .filter(({ option, type }) => option === "-nic" && type !== "none")
      .flatMap((word) => {
        const pairs: OptionPair[] = [
          { key: "nic", value: null },
          { key: "netdev", value: this.#idOf(word) },
        ];
        for (const [key, name] of [["model", "model"] as const, ["mac", "macaddr"] as const]) {
          const value = lastValue(word.rest, key);
          if (value !== null) pairs.push({ key: name, value });
        }
        return ["-net", joinOptions(pairs)];
      });
  }

  #idOf(word: NetOption): string {
    const id = this.#ids.get(word) ?? lastValue(word.rest, "id") ?? this.#freshId();
    this.#ids.set(word, id);
    return id;
  }

  #freshId(): string {
    const used = new Set([...this.#taken, ...this.#ids.values()]);
    for (let i = 0; ; i++) if (!used.has(`tslirp${i}`)) return `tslirp${i}`;
  }
}

/** A user network's options. Errors name the option that QEMU's user typed. */
function readUser({ option }: NetOption, read: () => Netdev): Netdev {
  try {
    return read();
  } catch (error) {
    throw error instanceof ConfigError ? error.named(error.field.replace(/^netdev/, option)) : error;
  }
}

/**
 * Whether QEMU would give this machine its default card and a user network. It does not if any option is about
 * networks.
 */
function hasDefaultNetwork(program: string, words: readonly Word[]): boolean {
  // If `-netdev` is the last word, its value is missing; QEMU will report that.
  if (
    words.some(
      (word) => isNetOption(word) || (typeof word === "string" && /^--?(nodefaults|netdev|nic|net)$/.test(word)),
    )
  )
    return false;
  const machine = words.findLast((_, i) => /^--?(M|machine)$/.test(String(words[i - 1])));
  const name = machine === undefined || isNetOption(machine) ? "" : textOf(machine);
  // These machines have no default card.
  return !/^(type=)?(microvm|none)\b/.test(name) && !/-microvm$/.test(program);
}

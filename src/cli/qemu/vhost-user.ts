/**
 * QEMU's arguments for user networks that are served by vhost-user. The back-end maps the guest's memory, so that
 * memory must be shareable.
 *
 * A machine without a memory back-end is given one of the size that `-m` names. A machine that has one must share it.
 */
import { ConfigError } from "../../control/errors.ts";
import { sharedMemoryArguments, vhostUserArguments } from "../../control/qemu-args.ts";
import { lastValue, type OptionPair, splitOptions, takeType } from "../../control/qemu-options.ts";

const FIELD = "--vhost-user";
/** QEMU's own default, in MiB. */
const DEFAULT_MEMORY = "128M";
/** Back-ends whose memory is shared unless they are told otherwise. */
const SHARED_BY_DEFAULT: readonly string[] = ["memory-backend-memfd"];

/** The value of an option. */
interface Given {
  readonly text: string;
  readonly pairs: readonly OptionPair[];
}

/**
 * The arguments to append to QEMU's `args` for networks served at these sockets. Throws `ConfigError` if `args` rule
 * that out.
 */
export function vhostUserCommand(
  args: readonly string[],
  networks: readonly { readonly id: string; readonly path: string }[],
): string[] {
  const cables = networks.flatMap(({ id, path }) => vhostUserArguments(id, path).slice(0, 2));
  return [...cables, ...memory(args), ...withoutMsix(args)];
}

/** The value of `-netdev` for a network. */
export function vhostUserNetdev(id: string): string {
  return vhostUserArguments(id, "").at(-1)!;
}

/** The arguments that make the machine's memory shareable; none if it is. */
function memory(args: readonly string[]): string[] {
  const machine = given(args, "machine", "M", "numa").flatMap(({ pairs }) => [
    lastValue(pairs, "memory-backend"),
    lastValue(pairs, "memdev"),
  ]);
  const backends = machine.filter((id) => id !== null);
  if (backends.length === 0) return sharedMemoryArguments("tslirp", memorySize(args));
  const objects = given(args, "object");
  for (const id of backends) {
    const object = objects.find(({ pairs }) => lastValue(pairs, "id") === id);
    // An object that is described in a file or in JSON is not checked.
    if (object === undefined) continue;
    const { type } = takeType(object.pairs);
    const share = lastValue(object.pairs, "share") ?? (SHARED_BY_DEFAULT.includes(type ?? "") ? "on" : "off");
    if (!["on", "yes", "true", "y"].includes(share))
      throw new ConfigError(FIELD, object.text, `expected share=on: the back-end maps the guest's memory (${id})`);
  }
  return [];
}

/** The machine's memory as `-m` says, with a unit: a number alone is MiB in `-m`, but bytes in an object's size. */
function memorySize(args: readonly string[]): string {
  const last = given(args, "m").at(-1);
  if (last === undefined) return DEFAULT_MEMORY;
  const size = lastValue(last.pairs, "size") ?? takeType(last.pairs).type ?? "";
  const match = /^(\d+(?:\.\d+)?)([bBkKmMgGtT]?)$/.exec(size);
  if (match === null) throw new ConfigError(FIELD, `-m ${last.text}`, "expected a size like 512 or 2G behind -m");
  return match[2] === "" ? `${size}M` : size;
}

/**
 * Turns MSI-X off for the cards if there is no KVM: QEMU 7.2 then crashes in its own `msix_set_vector_notifiers`.
 * Emulated processors gain nothing from MSI-X.
 */
function withoutMsix(args: readonly string[]): string[] {
  const accelerated =
    args.some((arg) => /^--?enable-kvm$/.test(arg)) ||
    given(args, "accel", "machine", "M").some(({ text }) => /\bkvm\b/.test(text));
  return accelerated ? [] : ["-global", "virtio-net-pci.vectors=0"];
}

/** All values of these options, with one hyphen or two. */
function given(args: readonly string[], ...names: readonly string[]): Given[] {
  return args.flatMap((arg, i) => {
    const name = arg.replace(/^--?/, "");
    const text = args[i + 1];
    if (!arg.startsWith("-") || !names.includes(name) || text === undefined) return [];
    return [{ text, pairs: splitOptions(text) }];
  });
}

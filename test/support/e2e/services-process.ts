/** `support/services` in a process of its own, so that it can live in another namespace. Speaks over the IPC channel. */

import { helper } from "../program.ts";
import { type ServiceEvent, type ServiceOptions, type ServicePorts, startServices } from "../services.ts";
import type { Namespace } from "./namespace.ts";

type ToChild = { start: Omit<ServiceOptions, "onEvent"> } | { resumeStalled: true };
type FromChild = { ports: ServicePorts } | { event: ServiceEvent } | { failed: string };

/** The parent's handle. */
export class ServicesProcess {
  readonly ports: ServicePorts;
  private readonly send: (message: ToChild) => void;
  private readonly seen: ServiceEvent[] = [];
  private waiting: (() => void)[] = [];

  private constructor(ports: ServicePorts, send: (message: ToChild) => void) {
    this.ports = ports;
    this.send = send;
  }

  static start(namespace: Namespace, options: Omit<ServiceOptions, "onEvent">): Promise<ServicesProcess> {
    const child = namespace.spawn(process.execPath, helper("services-process"), {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    return new Promise((resolve, reject) => {
      let handle: ServicesProcess | null = null;
      child.once("exit", (code) => reject(new Error(`the services ended early, with ${code}`)));
      child.on("message", (message: FromChild) => {
        if ("failed" in message) reject(new Error(message.failed));
        else if ("ports" in message) {
          handle = new ServicesProcess(message.ports, (command) => child.send(command));
          resolve(handle);
        } else handle?.take(message.event);
      });
      child.send({ start: options } satisfies ToChild);
    });
  }

  resumeStalled(): void {
    this.send({ resumeStalled: true });
  }

  /** The first event, past or to come, that `wanted` accepts; each is given out once. */
  async event(what: string, wanted: (event: ServiceEvent) => boolean, timeout = 40_000): Promise<ServiceEvent> {
    const until = performance.now() + timeout;
    for (;;) {
      const index = this.seen.findIndex(wanted);
      if (index >= 0) return this.seen.splice(index, 1)[0]!;
      const left = until - performance.now();
      if (left <= 0) throw new Error(`no event: ${what}; seen: ${JSON.stringify(this.seen)}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.waiting.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  /** Forgets what was seen; gives how many events `wanted` accepts among it. */
  drain(wanted: (event: ServiceEvent) => boolean): number {
    return this.seen.splice(0).filter(wanted).length;
  }

  private take(event: ServiceEvent): void {
    this.seen.push(event);
    for (const wake of this.waiting.splice(0)) wake();
  }
}

/** The child. */
if (process.argv[1] === import.meta.filename && process.send) {
  const send = (message: FromChild): void => void process.send?.(message);
  let resume = (): void => {};
  process.on("disconnect", () => process.exit(0));
  process.on("message", (message: ToChild) => {
    if ("resumeStalled" in message) return resume();
    startServices({ ...message.start, onEvent: (event) => send({ event }) }).then(
      (services) => {
        resume = () => services.resumeStalled();
        send({ ports: services.ports });
      },
      (error: unknown) => send({ failed: String(error) }),
    );
  });
}

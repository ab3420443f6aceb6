/**
 * The control API's requests and responses as JSON schemas. Requests are checked by them; the OpenAPI document contains
 * them.
 */
import * as z from "zod/mini";
import type { CaptureOptions } from "../control/capture.ts";
import { ImpairmentShape } from "../control/impairment.ts";
import type { ImpairmentOptions } from "../control/options/impairment-options.ts";
import type { Shape } from "../control/shape.ts";

/** A zod shape in the draft of JSON Schema that the server's validator reads. */
function schema(shape: Shape<unknown>): object {
  const { $schema: _, ...rest } = z.toJSONSchema(shape, { target: "draft-7" });
  return rest;
}

const forward = z.object({
  id: z.string().check(z.describe("names the forward in DELETE /v1/forwards/{id}")),
  rule: z.string().check(z.describe("`tcp 127.0.0.1:2222 -> 10.0.2.15:22`")),
  proto: z.enum(["tcp", "udp"]),
  host: z.string().check(z.describe("where it listens: `IP:PORT` or `unix:PATH`")),
  guest: z.string().check(z.describe("`IP:PORT` in the guests' network")),
});

const capture = z.object({
  id: z.string(),
  file: z.nullable(z.string()),
  byApi: z.boolean().check(z.describe("begun through this API, and not by `--capture` or by the program")),
  packets: z.int(),
  bytes: z.int(),
  dropped: z.int().check(z.describe("packets left out because the writer was too slow")),
});

export interface CaptureRequest extends CaptureOptions {
  readonly file: string;
}

const captureRequest = z.strictObject({
  file: z.string().check(z.minLength(1), z.describe("the pcapng file to write, on the machine that tslirp runs on")),
  filter: z.optional(z.string()).check(z.describe("`tcp port 80 and host 10.0.2.15`")),
  snapLength: z.optional(z.int().check(z.minimum(1), z.maximum(65_553))),
  rotateBytes: z.optional(z.int().check(z.minimum(1))),
  rotateSeconds: z.optional(z.number().check(z.minimum(1))),
  keepFiles: z.optional(z.int().check(z.minimum(1))),
});

export interface RecordingRequest {
  readonly file: string;
  readonly payload?: boolean;
  readonly endFlows?: boolean;
}

const recordingRequest = z.strictObject({
  file: z
    .string()
    .check(
      z.minLength(1),
      z.describe("the new file to write, or a folder that is there, on the machine that tslirp runs on"),
    ),
  payload: z.optional(z.boolean()).check(z.describe("whether payload is in it (true)")),
  endFlows: z.optional(z.boolean()).check(z.describe("end the flows that there are (false)")),
});

const recording = z.object({
  file: z.string(),
  payload: z.boolean(),
  began: z.string().check(z.describe("ISO 8601")),
  bytes: z.int().check(z.describe("handed to the disk so far")),
});

export interface ImpairmentRequest {
  readonly rules: readonly ImpairmentOptions[];
  readonly seed?: number;
}

const impairmentRequest = z.strictObject({
  rules: z
    .array(ImpairmentShape)
    .check(z.maxLength(64), z.describe("the first that means a frame is its fate; none makes the line good")),
  seed: z.optional(z.int().check(z.minimum(0), z.maximum(0xffff_ffff))),
});

export interface PublishRequest {
  readonly rule: string;
}

const publishRequest = z.strictObject({
  rule: z
    .string()
    .check(z.minLength(1), z.maxLength(4096), z.describe("Docker's grammar (`2222:22`) or QEMU's (`tcp::2222-:22`)")),
});

export interface RulesRequest {
  readonly rules: readonly string[];
}

export interface AnswerRequest {
  readonly verdict: "allow" | "always" | "deny" | "never";
}

const answer = z.strictObject({
  verdict: z
    .enum(["allow", "always", "deny", "never"])
    .check(z.describe("allow and deny: the flows that wait; always and never: others like them, too, by a rule")),
});

const rules = z.strictObject({
  rules: z
    .array(z.string().check(z.maxLength(1024)))
    .check(z.maxLength(4096), z.describe("`allow tcp *.debian.org:80,443`, `default deny`; none allows everything")),
});

/** Lines of one kind, whose grammar the library checks. */
const dnsHosts = z.strictObject({
  hosts: z
    .array(z.string().check(z.maxLength(1024)))
    .check(z.maxLength(4096), z.describe("`db.example.com=10.1.2.3`; none forgets all")),
});
const dnsZones = z.strictObject({
  zones: z
    .array(z.string().check(z.maxLength(1024)))
    .check(z.maxLength(4096), z.describe("`corp.example.com=10.1.0.53`; none forgets all")),
});

const failure = z.object({ error: z.string().check(z.describe("one line: what, where, what would be right")) });
/** Any object of the library's; its fields are documented there. */
const open = z.looseObject({});

const history = z.object({
  samples: z
    .array(
      z.object({
        ago: z.int().check(z.describe("milliseconds, to the end of the second that it is about")),
        up: z.int().check(z.describe("bits a second from guests")),
        down: z.int().check(z.describe("bits a second to guests")),
      }),
    )
    .check(z.describe("the oldest first")),
});

type SchemaName =
  | "forward"
  | "forwards"
  | "capture"
  | "captures"
  | "captureRequest"
  | "recording"
  | "recordingState"
  | "recordingRequest"
  | "impairment"
  | "impairmentRequest"
  | "publishRequest"
  | "rules"
  | "answer"
  | "dnsHosts"
  | "dnsZones"
  | "failure"
  | "history"
  | "open"
  | "list";

export const SCHEMAS: Readonly<Record<SchemaName, object>> = {
  forward: schema(forward),
  forwards: schema(z.array(forward)),
  capture: schema(capture),
  captures: schema(z.array(capture)),
  captureRequest: schema(captureRequest),
  recording: schema(recording),
  recordingState: schema(z.object({ recording: z.nullable(recording) })),
  recordingRequest: schema(recordingRequest),
  impairment: schema(z.object({ rules: z.array(ImpairmentShape) })),
  impairmentRequest: schema(impairmentRequest),
  publishRequest: schema(publishRequest),
  rules: schema(rules),
  answer: schema(answer),
  dnsHosts: schema(dnsHosts),
  dnsZones: schema(dnsZones),
  failure: schema(failure),
  open: schema(open),
  history: schema(history),
  list: schema(z.array(open)),
};

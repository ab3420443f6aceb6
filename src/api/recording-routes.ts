/** Routes of the recording: shows, begins and ends it. */
import type { FastifyInstance } from "fastify";
import type { Network } from "../network.ts";
import { type RecordingRequest, SCHEMAS } from "./schemas.ts";

export function recordingRoutes(app: FastifyInstance, network: Network): void {
  app.get(
    "/v1/recording",
    { schema: { summary: "The recording that runs, or null", response: { 200: SCHEMAS.recordingState } } },
    async () => ({ recording: network.recording() }),
  );
  app.post<{ Body: RecordingRequest }>(
    "/v1/recording",
    {
      schema: {
        summary: "Begins a recording, which flows are in the way of: with `endFlows` they end",
        body: SCHEMAS.recordingRequest,
        response: { 201: SCHEMAS.recording, 400: SCHEMAS.failure },
      },
    },
    async ({ body: { file, payload, endFlows } }, reply) =>
      reply.code(201).send(await network.record({ file, payload }, { endFlows })),
  );
  app.delete(
    "/v1/recording",
    {
      schema: {
        summary: "Ends the recording that runs, also one that began with the network, and tells what it holds",
        response: { 200: SCHEMAS.recording, 404: SCHEMAS.failure },
      },
    },
    async (_request, reply) => {
      const ended = await network.stopRecording();
      return ended ?? reply.code(404).send({ error: "no recording runs" });
    },
  );
}

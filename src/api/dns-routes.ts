/**
 * Routes of the DNS server's own names, and of zones with resolvers of their own: read and changed while the network
 * runs.
 */
import type { FastifyInstance } from "fastify";
import type { Network } from "../network.ts";
import { SCHEMAS } from "./schemas.ts";

export function dnsRoutes(app: FastifyInstance, network: Network): void {
  const showHosts = () => ({ hosts: network.dnsHosts() });
  const showZones = () => ({ zones: network.dnsZones() });
  const ok = (schema: object) => ({ 200: schema, 400: SCHEMAS.failure });
  app.get(
    "/v1/dns/hosts",
    { schema: { summary: "Names that the DNS server answers by itself", response: { 200: SCHEMAS.dnsHosts } } },
    async () => showHosts(),
  );
  app.put<{ Body: { hosts: readonly string[] } }>(
    "/v1/dns/hosts",
    {
      schema: { summary: "Other names in place of all", body: SCHEMAS.dnsHosts, response: ok(SCHEMAS.dnsHosts) },
    },
    async ({ body }) => {
      network.setDnsHosts(body.hosts);
      return showHosts();
    },
  );
  app.get(
    "/v1/dns/zones",
    { schema: { summary: "Zones that have resolvers of their own", response: { 200: SCHEMAS.dnsZones } } },
    async () => showZones(),
  );
  app.put<{ Body: { zones: readonly string[] } }>(
    "/v1/dns/zones",
    {
      schema: { summary: "Other zones in place of all", body: SCHEMAS.dnsZones, response: ok(SCHEMAS.dnsZones) },
    },
    async ({ body }) => {
      network.setDnsZones(body.zones);
      return showZones();
    },
  );
}

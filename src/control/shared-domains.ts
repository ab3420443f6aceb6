/** Domains below which anybody can get a name. A rule about `*.NAME` then allows strangers' servers, too. */

/**
 * Names that cloud hosts, content networks and tunnels give to their customers; those that rules are likely to name.
 */
const RENTED: ReadonlySet<string> = new Set([
  ...["amazonaws.com", "s3.amazonaws.com", "cloudfront.net", "elasticbeanstalk.com", "awsapprunner.com", "on.aws"],
  ...["azureedge.net", "azurefd.net", "azurewebsites.net", "cloudapp.net", "windows.net", "blob.core.windows.net"],
  ...["appspot.com", "cloudfunctions.net", "googleapis.com", "googleusercontent.com", "run.app", "web.app"],
  ...["firebaseapp.com", "firebaseio.com", "blogspot.com", "translate.goog"],
  ...["github.io", "githubusercontent.com", "gitlab.io", "bitbucket.io", "pages.dev", "workers.dev", "r2.dev"],
  ...["trycloudflare.com", "netlify.app", "vercel.app", "herokuapp.com", "fly.dev", "onrender.com", "deno.dev"],
  ...[
    "ngrok.io",
    "ngrok.app",
    "ngrok-free.app",
    "loca.lt",
    "serveo.net",
    "digitaloceanspaces.com",
    "ondigitalocean.app",
  ],
  ...["akamaized.net", "akamaihd.net", "edgekey.net", "edgesuite.net", "fastly.net", "fastlylb.net", "b-cdn.net"],
  ...["backblazeb2.com", "wasabisys.com", "oraclecloud.com", "myshopify.com", "wordpress.com", "readthedocs.io"],
  ...["duckdns.org", "dyndns.org", "no-ip.org", "ddns.net", "nip.io", "sslip.io"],
]);
/** Second-level domains of registries: `co.uk`, `com.au`. */
const REGISTRY = /^(?:ac|co|com|edu|gob|gov|gouv|go|mil|ne|net|or|org)\.[a-z]{2}$/;

/** Whether anybody can register or rent a name below this domain. */
export function isShared(domain: string): boolean {
  return !domain.includes(".") || REGISTRY.test(domain) || RENTED.has(domain);
}

/** Domains below which anybody may have a name: a rule about `*.NAME` means strangers' servers, too. */

/** Of those that people are likely to write: what hosts, content networks and tunnels give their customers. */
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
/** `co.uk`, `com.au`: registries' own second level. */
const REGISTRY = /^(?:ac|co|com|edu|gob|gov|gouv|go|mil|ne|net|or|org)\.[a-z]{2}$/;

/** Whether names below it are for whoever registers or rents one. */
export function isShared(domain: string): boolean {
  return !domain.includes(".") || REGISTRY.test(domain) || RENTED.has(domain);
}

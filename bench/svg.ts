/** What the plots of measurements have in common. */

/** A picture of so many units on white. */
export function picture(width: number, height: number, parts: readonly string[]): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    ...parts,
    "</svg>\n",
  ].join("\n");
}

/** Words that begin (or end, or have their middle) at `x`, on the line `y`. */
export function words(x: number, y: number, text: string, anchor = "start", size = 12): string {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}" font-size="${size}" fill="#24292f">${text}</text>`;
}

/** Most bytes of bodies that the process holds for plugins at once. Slow senders by the thousand may fill it, and not the memory. */
const most = 64 * 1024 * 1024

let held = 0

/** Counts bytes that are held from now on. @returns whether there is room for more */
export function hold(bytes: number): boolean {
  held += bytes
  return held <= most
}

export function release(bytes: number): void {
  held -= bytes
}

/** How many are held; for tests. */
export function heldBytes(): number {
  return held
}

import type { IncomingMessage } from 'node:http'

const withheld = new WeakSet<IncomingMessage>()

/** Somebody only asks about the request: a body that it announces does not come. */
export function withholdBody(request: IncomingMessage): void {
  withheld.add(request)
}

export function isWithheld(request: IncomingMessage): boolean {
  return withheld.has(request)
}

import type { Check } from './context.ts'

const everywhere = new Set(['0.0.0.0', '::', ''])

/** Two listeners cannot share a port, unless each has an address of its own. */
export const checkListeners: Check = ({ config, report, place }) => {
  const taken: { name: string; host: string; port: number }[] = []
  for (const name of ['http', 'h2c', 'https', 'admin'] as const) {
    const listener = config.listeners[name]
    // Port 0 is any free port: never the same one twice.
    if (!listener || listener.port === 0) continue
    const { host, port } = listener
    const other = taken.find(
      other =>
        other.port === port && (other.host === host || everywhere.has(host) || everywhere.has(other.host))
    )
    if (other) {
      report(
        ['listeners', name, 'port'],
        `port ${port} is taken by listener ${other.name}, ${place(['listeners', other.name, 'port'])}`,
        'give each listener a port of its own'
      )
    }
    taken.push({ name, host, port })
  }
}

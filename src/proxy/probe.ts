import { type buildConnector, Client } from 'undici'
import type { HealthCheckConfig } from './health-check.ts'

export interface Probe {
  /** Whether the endpoint answers 2xx in time. Never rejects. */
  ask(): Promise<boolean>
  close(): Promise<void>
}

const maxBody = 65_536

/**
 * A GET on a connection of its own, made for each check: a service that no longer accepts connections is not well, however
 * well the old ones still do; and a check neither waits for requests nor counts as one.
 */
export function createProbe(
  origin: string,
  servername: string | null,
  connect: buildConnector.connector,
  { path, timeout }: HealthCheckConfig
): Probe {
  const client = new Client(origin, { connect, headersTimeout: 0, bodyTimeout: 0 })
  const request = {
    path,
    method: 'GET' as const,
    headers: { 'user-agent': 'sallyport-health-check' },
    reset: true,
    servername
  }
  return {
    async ask() {
      const signal = AbortSignal.timeout(timeout)
      try {
        const { statusCode, body } = await client.request({ ...request, signal })
        await body.dump({ limit: maxBody, signal })
        return statusCode >= 200 && statusCode < 300
      } catch {
        return false
      }
    },
    close: () => client.destroy()
  }
}

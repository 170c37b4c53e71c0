import { once } from 'node:events'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'

/**
 * Opens a server of the demo on loopback. Port 0 takes a free one.
 * @returns its origin, e.g. `http://127.0.0.1:9001`
 */
export async function listenOnLoopback(server: Server, port: number, whose: string): Promise<string> {
  server.listen(port, '127.0.0.1')
  try {
    await once(server, 'listening')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
    throw new Error(`Port ${port} of 127.0.0.1, for the ${whose}, is taken.`, { cause: error })
  }
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

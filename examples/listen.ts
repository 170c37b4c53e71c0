import { once } from 'node:events'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { promisify } from 'node:util'
import { logVerbosity, type Server as RpcServer, ServerCredentials, setLogVerbosity } from '@grpc/grpc-js'

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
    throw taken(port, whose, error)
  }
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** The same for a gRPC server, whose package has a way of its own. */
export async function listenRpcOnLoopback(server: RpcServer, port: number, whose: string): Promise<string> {
  // It would print what the error says.
  setLogVerbosity(logVerbosity.NONE)
  const bind = promisify(server.bindAsync).bind(server)
  try {
    return `http://127.0.0.1:${await bind(`127.0.0.1:${port}`, ServerCredentials.createInsecure())}`
  } catch (error) {
    // It keeps the code for its text.
    if (!(error as Error).message.includes('EADDRINUSE')) throw error
    throw taken(port, whose, error)
  }
}

function taken(port: number, whose: string, cause: unknown): Error {
  return new Error(`Port ${port} of 127.0.0.1, for the ${whose}, is taken.`, { cause })
}

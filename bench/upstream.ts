import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { freePort, type Instance, startInstance } from './instance.ts'
import { nginx, nginxCommand } from './peers/nginx.ts'
import { body, node } from './runtime.ts'

const program = join(import.meta.dirname, 'peers', 'servers', 'upstream.ts')
const isNginx = nginx.version() !== null

export const upstreamTitle = isNginx ? `nginx ${nginx.version()}` : `Node ${process.versions.node}`

/** What every peer forwards to: 1 KB for every request, from the core that the gateway is not on. */
export async function startUpstream(folder: string): Promise<Instance> {
  mkdirSync(folder, { recursive: true })
  const port = await freePort()
  const command = isNginx ? nginxCommand(folder, servers(port)) : { argv: [node, program, String(port)] }
  return startInstance(command, 'world', port, folder)
}

function servers(port: number): string {
  const text = body.trimEnd()
  return `
  server {
    listen 127.0.0.1:${port} backlog=1024;
    default_type text/plain;
    location / { return 200 "${text}\\n"; }
  }`
}

import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { WebSocket } from 'ws'

/** Looks into a Node process that was started with `--inspect=127.0.0.1:0`. */
export interface Inspector {
  /** Bytes of the heap that are in use after a full collection. */
  heapAfterCollection(): Promise<number>
  /** Live streams and sessions of node:http2, by the names of their classes. */
  liveStreams(): Promise<Record<string, number>>
  close(): void
}

interface Answer {
  id: number
  result?: Record<string, unknown>
  error?: { message: string }
}

/** `errorFile` has what the process wrote to stderr: Node says there where the inspector listens. */
export async function inspect(errorFile: string): Promise<Inspector> {
  const socket = new WebSocket(await addressIn(errorFile))
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))
  const waiting = new Map<number, (answer: Answer) => void>()
  socket.on('message', data => {
    const answer = JSON.parse(String(data)) as Answer
    waiting.get(answer.id)?.(answer)
    waiting.delete(answer.id)
  })
  let last = 0

  async function ask(method: string, params: object = {}): Promise<Record<string, unknown>> {
    const id = ++last
    const answer = await new Promise<Answer>(resolve => {
      waiting.set(id, resolve)
      socket.send(JSON.stringify({ id, method, params }))
    })
    if (answer.error !== undefined) throw new Error(`${method}: ${answer.error.message}`)
    return answer.result as Record<string, unknown>
  }

  async function evaluate(expression: string): Promise<string> {
    const { result } = await ask('Runtime.evaluate', { expression, objectGroup: 'leaks' })
    return (result as { objectId: string }).objectId
  }

  return {
    async heapAfterCollection() {
      // What one collection frees may hold what the next one frees.
      for (let i = 0; i < 3; i++) await ask('HeapProfiler.collectGarbage')
      return Number((await ask('Runtime.getHeapUsage')).usedSize)
    },
    async liveStreams() {
      const emitters = await evaluate("process.getBuiltinModule('node:events').prototype")
      const { objects } = await ask('Runtime.queryObjects', {
        prototypeObjectId: emitters,
        objectGroup: 'leaks'
      })
      const { result } = await ask('Runtime.callFunctionOn', {
        objectId: (objects as { objectId: string }).objectId,
        functionDeclaration: countClasses.toString(),
        returnByValue: true
      })
      await ask('Runtime.releaseObjectGroup', { objectGroup: 'leaks' })
      return (result as { value: Record<string, number> }).value
    },
    close: () => socket.close()
  }
}

/** Runs inside the process, on the list of all emitters. Prototypes are emitters too: they are no instances. */
function countClasses(this: object[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const each of this) {
    const name = each.constructor?.name ?? ''
    if (!/^(Server|Client)Http2(Stream|Session)$/.test(name) || Object.hasOwn(each, 'constructor')) continue
    counts[name] = (counts[name] ?? 0) + 1
  }
  return counts
}

async function addressIn(errorFile: string): Promise<string> {
  for (let i = 0; i < 100; i++) {
    const found = /ws:\/\/\S+/.exec(readFileSync(errorFile, 'utf8'))
    if (found !== null) return found[0]
    await sleep(50)
  }
  throw new Error('the process does not say where its inspector listens')
}

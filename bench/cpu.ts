import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'

// USER_HZ: what the kernel counts in for user space.
const ticksPerSecond = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))

/**
 * CPU seconds that a process and its descendants have used: `utime` + `stime` of those that live, and of those that have
 * ended (`cutime` + `cstime`, which their parents keep). proc_pid_stat(5).
 */
export function cpuSeconds(pid: number): number {
  const children = new Map<number, number[]>()
  const ticks = new Map<number, number>()
  for (const name of readdirSync('/proc')) {
    const id = Number(name)
    if (!Number.isInteger(id)) continue
    const fields = statOf(id)
    if (fields === null) continue
    const [parent] = fields
    ticks.set(id, fields[1])
    children.set(parent, [...(children.get(parent) ?? []), id])
  }
  let sum = 0
  const open = [pid]
  for (let id = open.pop(); id !== undefined; id = open.pop()) {
    sum += ticks.get(id) ?? 0
    open.push(...(children.get(id) ?? []))
  }
  return sum / ticksPerSecond
}

/** Parent and ticks of a process; null when it has ended. */
function statOf(pid: number): [number, number] | null {
  let text: string
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'latin1')
  } catch {
    return null
  }
  // The name, in parentheses, may hold anything; fields are counted from behind it: `state` is the third.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const field = (number: number) => Number(fields[number - 3])
  return [field(4), field(14) + field(15) + field(16) + field(17)]
}

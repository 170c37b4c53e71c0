/**
 * Sets of points on one line, as sorted half-open intervals `[low, high)` that neither touch nor overlap. Half-open, so that no
 * operation needs "the next point", and ports (numbers) and addresses (bigints) share the code.
 */
export type Intervals<T extends number | bigint> = readonly (readonly [T, T])[]

/** Any list of intervals, in any order, as the set it covers. */
export function unite<T extends number | bigint>(parts: Intervals<T>): Intervals<T> {
  const sorted = parts.filter(([low, high]) => low < high).sort((a, b) => (a[0] < b[0] ? -1 : 1))
  const out: [T, T][] = []
  for (const [low, high] of sorted) {
    const last = out.at(-1)
    if (last === undefined || low > last[1]) out.push([low, high])
    else if (high > last[1]) last[1] = high
  }
  return out
}

export function intersect<T extends number | bigint>(a: Intervals<T>, b: Intervals<T>): Intervals<T> {
  const out: [T, T][] = []
  let i = 0
  let j = 0
  while (i < a.length && j < b.length) {
    const x = a[i]!
    const y = b[j]!
    const low = x[0] > y[0] ? x : y
    const high = x[1] < y[1] ? x : y
    if (low[0] < high[1]) out.push([low[0], high[1]])
    if (high === x) i++
    else j++
  }
  return out
}

export function subtract<T extends number | bigint>(from: Intervals<T>, away: Intervals<T>): Intervals<T> {
  const out: [T, T][] = []
  let j = 0
  for (const [start, end] of from) {
    let low = start
    while (j < away.length && away[j]![1] <= low) j++
    for (let k = j; k < away.length && away[k]![0] < end; k++) {
      const [cutLow, cutHigh] = away[k]!
      if (cutLow > low) out.push([low, cutLow])
      if (cutHigh > low) low = cutHigh
    }
    if (low < end) out.push([low, end])
  }
  return out
}

export function contains<T extends number | bigint>(set: Intervals<T>, point: T): boolean {
  return set.some(([low, high]) => low <= point && point < high)
}

export function isSubset<T extends number | bigint>(inner: Intervals<T>, outer: Intervals<T>): boolean {
  return subtract(inner, outer).length === 0
}

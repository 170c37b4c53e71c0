/**
 * An object of a body as expressions see it: a map, whatever its members are called (`constructor`, `entries`).
 *
 * cel-js 8.0.0 makes a type of every shape that it compares, such as list<map<string, list<double>>>, and keeps it for ever. It
 * asks a map for its first entry to know the shape. These have none to show, so that a client cannot fill the memory with
 * shapes; what is left is lists in lists, which are bounded.
 */
class BodyMap extends Map<string, unknown> {
  override entries(): MapIterator<[string, unknown]> {
    return noEntries.entries()
  }
}

const noEntries = new Map<string, unknown>()
// By its constructor cel-js knows what a value is.
Object.defineProperty(BodyMap.prototype, 'constructor', { value: Map })

/** A body in the form in which an expression may see it; the one that is given stays as it is. */
export function viewOfBody(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(viewOfBody)
  const view = new BodyMap()
  for (const name of Object.keys(value)) view.set(name, viewOfBody((value as Record<string, unknown>)[name]))
  return view
}
